"""Videos as files: tensors are [frames, height, width, channels] in 0..1, as ComfyUI's IMAGE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from ...video.segments import Encoding, Segment, encode_segment
from ...video.writing import QUALITY, VideoWriter
from .limits import MOST_FRAME_PIXELS, MOST_VIDEO_BYTES

VIDEO_EXTENSIONS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi"})
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
    """All frames [T,H,W,3] of a video file and its frames a second.

    Raises ValueError when it is no video, or takes more than MOST_VIDEO_BYTES.
    """
    info = probe_video(path)
    count = 0
    batches = []
    for batch in video_batches(path):
        count += len(batch)
        if count * info.width * info.height * 12 > MOST_VIDEO_BYTES:
            raise ValueError(
                f"the video {path.name} has too many frames of {info.width}x{info.height} to be loaded whole "
                f"({count} take more than {MOST_VIDEO_BYTES / 2**30:g} GiB); cut it or make it smaller"
            )
        batches.append(batch)
    frames = torch.from_numpy(np.concatenate(batches))
    return frames.float().div_(255), info.fps


def video_batches(path: Path, size: int = BATCH) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video file, uint8 [N,H,W,3] with N up to `size`, decoded while they are taken.

    They stand upright where the file says how it is to be turned, as telephones do. Raises ValueError when the file is no
    video, has no frames or breaks off, and for frames of more than MOST_FRAME_PIXELS.
    """
    frames: list[NDArray[np.uint8]] = []
    done = 0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(_video_stream(container, path)):
                picture = _upright(frame)
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
    """Frame count, rate and upright size of a video file; raises ValueError when it is no video."""
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            # Some containers keep no count: then decoding tells.
            frames = stream.frames or _length(container.decode(stream))
            info = VideoInfo(frames, float(stream.average_rate or 0), stream.width, stream.height)
        turned = _quarter_turns(path) % 2
        return replace(info, width=info.height, height=info.width) if turned else info
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error


def probe_timed_video(path: Path) -> VideoInfo:
    """As probe_video; raises ValueError for a video without a rate, too."""
    info = probe_video(path)
    if not info.fps > 0:
        raise ValueError(f"the video {path.name} does not say its frames a second: convert it to MP4 first")
    return info


def _unreadable(path: Path, error: av.FFmpegError, frames: int = 0) -> ValueError:
    if frames:
        return ValueError(f"the video {path.name} is broken after frame {frames - 1}: {error.strerror}")
    return ValueError(f"the file {path.name} cannot be read as a video: {error.strerror}")


def _upright(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """A frame [H,W,3] as it is to be shown."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), _turns(frame)))


def _turns(frame: av.VideoFrame) -> int:
    """How many quarter turns to the left a frame needs."""
    return round(frame.rotation / 90) % 4


def _quarter_turns(path: Path) -> int:
    """How many quarter turns to the left the frames of a video need."""
    with av.open(str(path)) as container:
        first = next(iter(container.decode(_video_stream(container, path))), None)
        return 0 if first is None else _turns(first)


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise ValueError(f"the file {path.name} has no video stream")
    stream = container.streams.video[0]
    if stream.width * stream.height > MOST_FRAME_PIXELS:
        raise ValueError(
            f"the video {path.name} has frames of {stream.width}x{stream.height}, at most {MOST_FRAME_PIXELS:,} pixels "
            "are read; make it smaller first"
        )
    return stream


def _length(items: Iterable[Any]) -> int:
    return sum(1 for _ in items)
