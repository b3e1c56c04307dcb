"""Images and videos as files: tensors are [frames, height, width, channels] in 0..1, as ComfyUI's IMAGE."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence
from PIL.PngImagePlugin import PngInfo

from ...video.segments import Encoding, Segment, encode_segment, to_bytes
from ...video.writing import QUALITY, VideoWriter

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
VIDEO_EXTENSIONS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi"})
# ComfyUI's LoadImage gives a mask of this size where a picture has no alpha channel.
NO_MASK_SIZE = 64
BATCH = 16
# Longest over shortest distance of two frames: above it the rate is variable. Containers round their times.
UNEVEN = 1.5


@dataclass(frozen=True)
class Video:
    """The VIDEO of headless runs: `images` [T,H,W,3] at `frame_rate` frames a second, without sound."""

    images: torch.Tensor
    frame_rate: Fraction
    audio: None = None

    def get_components(self) -> Video:
        """The parts, under the same names as in ComfyUI."""
        return self

    def get_dimensions(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[1])


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself."""

    frames: int
    fps: float
    width: int
    height: int


def load_image(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads a picture, or all same-sized frames of an animated one.

    Returns the image [N,H,W,3] and the mask [N,H,W], 1 where the picture is transparent; zeros [N,64,64]
    without an alpha channel. Raises ValueError when the file is no picture.
    """
    images: list[torch.Tensor] = []
    masks: list[torch.Tensor] = []
    try:
        with Image.open(path) as file:
            # An MPO file holds one photograph several times, not an animation.
            pictures = [file] if file.format == "MPO" else ImageSequence.Iterator(file)
            for picture in pictures:
                upright = ImageOps.exif_transpose(picture)
                image = _to_tensor(_eight_bit(upright).convert("RGB"))
                if not images or image.shape == images[0].shape:
                    images.append(image)
                    masks.append(_mask(upright))
    except OSError as error:
        raise ValueError(f"the file {path.name} cannot be read as a picture: {error}") from error
    return torch.stack(images), torch.stack(masks)


def _eight_bit(picture: Image.Image) -> Image.Image:
    return picture.point(lambda value: value * (1 / 255)) if picture.mode == "I" else picture


def _to_tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture).astype(np.float32) / 255.0)


def _mask(picture: Image.Image) -> torch.Tensor:
    if "A" in picture.getbands():
        return 1.0 - _to_tensor(picture.getchannel("A"))
    if "transparency" in picture.info:
        return 1.0 - _to_tensor(picture.convert("RGBA").getchannel("A"))
    return torch.zeros(NO_MASK_SIZE, NO_MASK_SIZE)


def save_png(path: Path, image: torch.Tensor, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes one image [H,W,C] as PNG, with `metadata` as JSON texts."""
    texts = PngInfo()
    for key, value in (metadata or {}).items():
        texts.add_text(key, json.dumps(value))
    Image.fromarray(to_bytes(image)).save(path, format="PNG", pnginfo=texts, compress_level=4)


def write_video(
    path: Path, images: torch.Tensor, fps: float | Fraction, metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes `images` [T,H,W,3] to a file as `encode_video` encodes them, with `metadata` as JSON texts."""
    write_encoded(path, encode_video(images, fps), metadata)


def write_encoded(path: Path, video: Segment, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes an encoded video to a file, with `metadata` as JSON texts."""
    with VideoWriter(path, video.encoding.fps, metadata=metadata) as writer:
        writer.append(video)


def encode_video(images: torch.Tensor, fps: float | Fraction) -> Segment:
    """`images` [T,H,W,3] as H.264 in yuv420p.

    yuv420p keeps colour for every second pixel: an odd width or height is made even by repeating the last
    column or row, and a warning says so. Raises ValueError when `images` is not a video.
    """
    if images.ndim != 4 or images.shape[-1] < 3 or images.shape[0] == 0:
        raise ValueError(
            f"a video needs images of the shape [frames, height, width, 3], got {list(images.shape)}"
        )
    return encode_segment(images[..., :3], Encoding.of(fps, QUALITY))


def read_video(path: Path) -> tuple[torch.Tensor, float]:
    """All frames [T,H,W,3] of a video file and its frames a second; raises ValueError when it is no video."""
    frames = torch.from_numpy(np.concatenate(list(video_batches(path))))
    return frames.float().div(255), probe_video(path).fps


def video_batches(path: Path, size: int = BATCH) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video file, uint8 [N,H,W,3] with N up to `size`, decoded while they are taken.

    Raises ValueError when the file is no video, has no frames or breaks off.
    """
    frames: list[NDArray[np.uint8]] = []
    done = 0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(_video_stream(container, path)):
                picture = frame.to_ndarray(format="rgb24")
                if frames and picture.shape != frames[0].shape:
                    raise ValueError(
                        f"the video {path.name} changes its size at frame {done + len(frames)}: cut it there"
                    )
                frames.append(picture)
                if len(frames) == size:
                    done += size
                    yield np.stack(frames)
                    frames = []
    except av.FFmpegError as error:
        raise _unreadable(path, error, done + len(frames)) from error
    if frames:
        yield np.stack(frames)
    elif not done:
        raise ValueError(f"the video {path.name} has no frames")


def uneven_times(path: Path) -> list[float] | None:
    """The times of a video's frames in seconds where they are not evenly spaced, else None.

    Raises ValueError when the file is no video.
    """
    try:
        with av.open(str(path)) as container:
            packets = container.demux(_video_stream(container, path))
            times = sorted(
                float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None
            )
        steps = np.diff(times)
        if len(steps) == 0 or steps.max() <= UNEVEN * steps.min():
            return None
        # Packets need not be frames; only a decoder knows.
        with av.open(str(path)) as container:
            return [float(frame.time) for frame in container.decode(_video_stream(container, path))]
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error


def probe_video(path: Path) -> VideoInfo:
    """Frame count, rate and size of a video file; raises ValueError when it is no video."""
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            # Some containers keep no count: then decoding tells.
            frames = stream.frames or _length(container.decode(stream))
            return VideoInfo(frames, float(stream.average_rate or 0), stream.width, stream.height)
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: av.FFmpegError, frames: int = 0) -> ValueError:
    if frames:
        return ValueError(f"the video {path.name} is broken after frame {frames - 1}: {error.strerror}")
    return ValueError(f"the file {path.name} cannot be read as a video: {error.strerror}")


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise ValueError(f"the file {path.name} has no video stream")
    return container.streams.video[0]


def _length(items: Iterable[Any]) -> int:
    return sum(1 for _ in items)
