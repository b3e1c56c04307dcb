"""The picture sizes that FramePack was trained on, and images resized to them.

Source: lllyasviel/FramePack, `diffusers_helper/bucket_tools.py` and `resize_and_center_crop` of `utils.py`. For other
resolutions than 640 the sizes are scaled, as ComfyUI-FramePackWrapper does.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor

BASE_RESOLUTION = 640  # side in pixels of a square with about as many pixels as each bucket
STEP = 16  # pixels: the VAE's factor of 8 times the transformer's patch of 2
METHODS = ("crop", "pad")
_SIDES = ((416, 960), (448, 864), (480, 832), (512, 768), (544, 704), (576, 672), (608, 640))
# Height and width, from the widest to the tallest.
BUCKETS = _SIDES + tuple((tall, narrow) for narrow, tall in reversed(_SIDES))


def nearest_bucket(height: int, width: int, resolution: int = BASE_RESOLUTION) -> tuple[int, int]:
    """Height and width, multiples of 16, of the size whose shape is nearest to an image's.

    The sizes are scaled from 640 to `resolution`; of two that are equally near the taller one is taken. Raises
    ValueError when a number is below 1.
    """
    if min(height, width, resolution) < 1:
        raise ValueError(
            f"an image of {width}x{height} pixels at resolution {resolution} has no size; give numbers above 0."
        )
    shape = min(reversed(BUCKETS), key=lambda bucket: abs(height * bucket[1] - width * bucket[0]))
    tall, wide = (max(STEP, round(side * resolution / BASE_RESOLUTION / STEP) * STEP) for side in shape)
    return tall, wide


def fit(images: Tensor, *, height: int, width: int, method: str, colour: str = "black") -> Tensor:
    """Images [B, H, W, 3] with values 0 to 1, resized to `height` and `width` without changing their aspect.

    `crop` fills the new size and cuts the rest off, evenly on both sides; `pad` shows the whole image and fills the
    rest with `colour` (a name or #rrggbb). The filter is Lanczos, as upstream. The result is float32 on the CPU; images
    that have the size already are returned as they are. Raises ValueError for another method or an unknown colour.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}.")
    if tuple(images.shape[1:3]) == (height, width):
        return images
    if method == "crop":
        return _crop(images, height, width)
    return _pad(images, height, width, _rgb(colour))


def _crop(images: Tensor, height: int, width: int) -> Tensor:
    # The kept part is found in the image's own pixels: enlarging the whole image first could take any memory.
    size = images.shape[1:3]
    inner_height, inner_width = _scaled(images, max(height / size[0], width / size[1]))
    top, left = round((inner_height - height) / 2), round((inner_width - width) / 2)
    y, x = size[0] / inner_height, size[1] / inner_width
    right, bottom = min((left + width) * x, size[1]), min((top + height) * y, size[0])
    return _resize(images, height, width, (left * x, top * y, right, bottom))


def _pad(images: Tensor, height: int, width: int, colour: list[float]) -> Tensor:
    inner_height, inner_width = _scaled(images, min(height / images.shape[1], width / images.shape[2]))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    canvas = torch.tensor(colour).expand(images.shape[0], height, width, 3).clone()
    canvas[:, top : top + inner_height, left : left + inner_width] = _resize(
        images, inner_height, inner_width
    )
    return canvas


def _scaled(images: Tensor, scale: float) -> tuple[int, int]:
    """Height and width of the images times `scale`, at least 1."""
    return max(1, round(images.shape[1] * scale)), max(1, round(images.shape[2] * scale))


def _rgb(colour: str) -> list[float]:
    try:
        return [value / 255 for value in ImageColor.getrgb(colour.strip())[:3]]
    except ValueError as error:
        raise ValueError(
            f"pad_color is {colour!r}, expected a name such as black or a code such as #808080."
        ) from error


def _resize(
    images: Tensor, height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> Tensor:
    """Pillow's Lanczos filter on each colour channel; `box` (left, top, right, bottom) takes a part of the images."""
    # Channels of floats: Pillow rounds RGB images to bytes, which shows as bands in dark gradients.
    planes = images.detach().to("cpu", torch.float32).movedim(-1, 1).contiguous().numpy()
    resized = np.empty((*planes.shape[:2], height, width), dtype=np.float32)
    for index in np.ndindex(planes.shape[:2]):
        plane = Image.fromarray(planes[index])
        resized[index] = plane.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(resized).clamp(0, 1).movedim(1, -1).contiguous()
