"""The picture sizes that FramePack was trained on, and images brought to them.

Source: lllyasviel/FramePack, `diffusers_helper/bucket_tools.py` and `resize_and_center_crop` of `utils.py`; other
resolutions scale the sizes as ComfyUI-FramePackWrapper does.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor

BASE_RESOLUTION = 640
# The VAE's 8 pixels times the transformer's patch of 2.
STEP = 16
METHODS = ("crop", "pad")
_SIDES = ((416, 960), (448, 864), (480, 832), (512, 768), (544, 704), (576, 672), (608, 640))
# Height and width, from the widest to the tallest.
BUCKETS = _SIDES + tuple((tall, narrow) for narrow, tall in reversed(_SIDES))


def nearest_bucket(height: int, width: int, resolution: int = BASE_RESOLUTION) -> tuple[int, int]:
    """Height and width of the bucket whose shape is nearest, both multiples of 16, scaled from 640 to `resolution`.

    Where two are equally near, the taller one is taken. Raises ValueError when a number is below 1.
    """
    if min(height, width, resolution) < 1:
        raise ValueError(
            f"an image of {width}x{height} pixels at resolution {resolution} has no size; give numbers above 0."
        )
    shape = min(reversed(BUCKETS), key=lambda bucket: abs(height * bucket[1] - width * bucket[0]))
    tall, wide = (max(STEP, round(side * resolution / BASE_RESOLUTION / STEP) * STEP) for side in shape)
    return tall, wide


def fit(images: Tensor, height: int, width: int, method: str, colour: str = "black") -> Tensor:
    """Images [B, H, W, 3] in 0..1 at another size, float32 on the CPU, with their aspect kept.

    `crop` fills the size and cuts what stands over, evenly on both sides; `pad` shows all and fills the rest with
    `colour` (a name or #rrggbb). Lanczos, as upstream. Raises ValueError for another method or an unknown colour.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}.")
    size = images.shape[1:3]
    if tuple(size) == (height, width):
        return images
    ratios = (height / size[0], width / size[1])
    scale = max(ratios) if method == "crop" else min(ratios)
    inner = [max(1, round(side * scale)) for side in size]
    if method == "crop":
        # The part of the image that is kept, in its own pixels: enlarging all of it first could take any memory.
        top, left = (round((side - kept) / 2) for side, kept in zip(inner, (height, width)))
        y, x = size[0] / inner[0], size[1] / inner[1]
        right, bottom = min((left + width) * x, size[1]), min((top + height) * y, size[0])
        return _resize(images, height, width, (left * x, top * y, right, bottom))
    canvas = torch.tensor(_rgb(colour)).expand(images.shape[0], height, width, 3).clone()
    top, left = ((side - kept) // 2 for side, kept in zip((height, width), inner))
    canvas[:, top : top + inner[0], left : left + inner[1]] = _resize(images, *inner)
    return canvas


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
    """Lanczos on float planes: Pillow's own filter without its rounding to bytes, which would band dark gradients."""
    planes = images.detach().to("cpu", torch.float32).movedim(-1, 1).contiguous().numpy()
    resized = np.empty((*planes.shape[:2], height, width), dtype=np.float32)
    for index in np.ndindex(planes.shape[:2]):
        plane = Image.fromarray(planes[index])
        resized[index] = plane.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(resized).clamp(0, 1).movedim(1, -1).contiguous()
