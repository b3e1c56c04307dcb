"""Pictures as files: tensors are [frames, height, width, channels] in 0..1, as ComfyUI's IMAGE."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence
from PIL.PngImagePlugin import PngInfo

from ...nodes.files.reading import said
from ...video.segments import to_bytes
from .limits import MOST_PIXELS

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# Others that Pillow reads, such as PostScript, run programs or are no pictures of a camera or an artist.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# ComfyUI's LoadImage gives a mask of this size where a picture has no alpha channel.
NO_MASK_SIZE = 64
# FFmpeg's readers of the formats whose colours may have 16 bits, of which Pillow keeps 8.
DEEP_READERS = {"PNG": "png_pipe", "TIFF": "tiff_pipe"}
ORIENTATION = 0x0112  # the number under which a photograph says how it is to be turned

Picture = tuple[torch.Tensor, torch.Tensor]  # the image [H,W,3] and its mask [h,w]


def load_image(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads a picture, or all same-sized frames of an animated one.

    Returns the image [N,H,W,3] and the mask [N,H,W], 1 where the picture is transparent; zeros [N,64,64]
    without an alpha channel. Values of 8 and 16 bits are scaled to 0..1, floats are taken as they are, within 0..1.
    Raises ValueError when the file is no picture, and before decoding it when it has more than MOST_PIXELS.
    """
    try:
        with catch_warnings():
            simplefilter("ignore")  # of large sizes and damaged tags; what cannot be read is told below
            with Image.open(path, formats=FORMATS) as file:
                pictures = list(_same_size(_pictures(path, file)))
    except Image.DecompressionBombError as error:
        raise _too_large(path, "more") from error
    except _TooLarge as error:
        raise _too_large(path, error.args[0]) from error
    except Exception as error:  # Pillow's readers raise many kinds for files that are broken
        raise ValueError(f"the file {path.name} cannot be read as a picture: {said(error)}") from error
    images, masks = zip(*pictures)
    return _stacked(images), _stacked(masks)


def save_png(path: Path, image: torch.Tensor, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes one image [H,W,C] as PNG, with `metadata` as JSON texts."""
    texts = PngInfo()
    for key, value in (metadata or {}).items():
        texts.add_text(key, json.dumps(value))
    Image.fromarray(to_bytes(image)).save(path, format="PNG", pnginfo=texts, compress_level=4)


class _TooLarge(Exception):
    """Its one argument is the number of pixels that were found."""


def _too_large(path: Path, pixels: int | str) -> ValueError:
    found = f"{pixels:,}" if isinstance(pixels, int) else pixels
    return ValueError(
        f"the picture {path.name} has {found} pixels, at most {MOST_PIXELS:,} are read; make it smaller first"
    )


def _pictures(path: Path, file: Any) -> Iterator[Picture]:
    """The frames of an open file, each decoded when it is taken. Raises _TooLarge before it decodes too many pixels."""
    _count_pixels(0, file)
    if _is_deep(file) and file.getexif().get(ORIENTATION, 1) == 1:
        yield _deep_picture(path, DEEP_READERS[file.format])
        return
    pixels = 0
    # An MPO file holds one photograph several times, not an animation.
    for picture in [file] if file.format == "MPO" else ImageSequence.Iterator(file):
        pixels = _count_pixels(pixels, picture)
        upright = ImageOps.exif_transpose(picture)
        yield _colours(upright), _mask(upright)


def _count_pixels(before: int, picture: Image.Image) -> int:
    pixels = before + picture.width * picture.height
    if pixels > MOST_PIXELS:
        raise _TooLarge(pixels)
    return pixels


def _same_size(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Those pictures that are as large as the first one."""
    size = None
    for image, mask in pictures:
        size = size or image.shape
        if image.shape == size:
            yield image, mask


def _is_deep(file: Any) -> bool:
    """Whether a file that was opened, but not read, has colours of 16 bits; Pillow reads 16 bits of grey alone."""
    raw = [str(tile[3]) for tile in file.tile]
    return file.format in DEEP_READERS and file.mode in ("RGB", "RGBA") and any(";16" in mode for mode in raw)


def _deep_picture(path: Path, reader: str) -> Picture:
    with av.open(str(path), format=reader) as container:
        frame = next(container.decode(video=0))
        alpha = any(component.is_alpha for component in frame.format.components)
        values = _to_tensor(frame.to_ndarray(format="rgba64le"), 65535)
    return values[..., :3], 1 - values[..., 3] if alpha else _no_mask()


def _colours(picture: Image.Image) -> torch.Tensor:
    """The colours [H,W,3] in 0..1."""
    if picture.mode == "F":
        return _grey(_to_tensor(np.nan_to_num(np.asarray(picture)), 1))
    if picture.mode.startswith("I"):
        return _grey(_to_tensor(np.asarray(picture), 65535))
    return _to_tensor(np.asarray(picture.convert("RGB")), 255)


def _grey(values: torch.Tensor) -> torch.Tensor:
    return values.clamp(0, 1).unsqueeze(-1).repeat(1, 1, 3)


def _to_tensor(values: NDArray[Any], white: int) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32)).div_(white)


def _mask(picture: Image.Image) -> torch.Tensor:
    if "A" in picture.getbands():
        return 1.0 - _to_tensor(np.asarray(picture.getchannel("A")), 255)
    if "transparency" in picture.info and picture.mode in ("1", "L", "P", "RGB"):
        return 1.0 - _to_tensor(np.asarray(picture.convert("RGBA").getchannel("A")), 255)
    return _no_mask()


def _no_mask() -> torch.Tensor:
    return torch.zeros(NO_MASK_SIZE, NO_MASK_SIZE)


def _stacked(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The parts as one tensor; a single one is not copied."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
