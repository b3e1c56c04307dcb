"""Stretches of a video that are encoded once and joined to files without encoding again.

A segment is a closed group of pictures: it begins with a key frame and no frame of it needs another segment. So files
are made of segments in any order of their making, one behind the other or in front of it.
"""

from __future__ import annotations

import io
import json
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import torch
from av.video.frame import PictureType
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

CODEC = "libx264"
PIXELS = "yuv420p"
# An edit list, which plain MP4 needs for the delay of B frames, would be lost where files are joined.
SEGMENT_MUXER = {"movflags": "negative_cts_offsets"}
FILE_MUXER = {"movflags": "use_metadata_tags+negative_cts_offsets+faststart"}
# What x264's AVX-512 code plans with (its macroblock tree) lies in part beyond the end of each row of the picture, in memory
# that holds whatever was there before, unless a row has a multiple of 256 pixels. Its SSE code does not read there.
X264_CODE = "asm=sse4.2" if platform.machine().lower() in ("x86_64", "amd64") else ""
REORDERING = 2  # frames by which x264's B frames are decoded before they are shown


@dataclass(frozen=True)
class Encoding:
    """How a video is encoded; only segments with equal ones can be joined.

    fps: frames per second, kept to a thousandth, because H.264's time base cannot hold arbitrary fractions.
    crf: x264's quality, from 0 (lossless) to 51.
    """

    fps: Fraction
    crf: int

    @classmethod
    def of(cls, fps: float | Fraction, crf: int) -> Encoding:
        """The encoding with a frame rate that is rounded to a thousandth."""
        return cls(Fraction(round(Fraction(fps) * 1000), 1000), crf)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Consecutive encoded frames of a video.

    data: an MP4 file (H.264) of these frames alone, in memory or on disk.
    frames: their range in the video, half open.
    encoding: how they are encoded.
    """

    data: bytes | Path
    frames: tuple[int, int]
    encoding: Encoding

    @contextmanager
    def opened(self) -> Iterator[av.container.InputContainer]:
        """The file, open for reading."""
        source = io.BytesIO(self.data) if isinstance(self.data, bytes) else str(self.data)
        with av.open(source) as container:
            yield container


def to_bytes(image: Tensor) -> NDArray[np.uint8]:
    """Images of any shape with values 0 to 1, as uint8 values 0 to 255 on the CPU."""
    return image.detach().float().mul(255).round().clamp(0, 255).to(device="cpu", dtype=torch.uint8).numpy()


def encode_segment(images: Tensor, encoding: Encoding, *, start: int = 0) -> Segment:
    """Frames [T, H, W, 3] with values 0 to 1 as a segment whose first frame is the video's frame `start`.

    The same frames always become the same bytes. An odd height or width is made even by repeating the last row or column.
    """
    images = _even(images)
    file = io.BytesIO()
    with av.open(file, mode="w", format="mp4", options=SEGMENT_MUXER) as container:
        stream = _add_stream(container, encoding)
        stream.height, stream.width = images.shape[1:3]
        for number, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(to_bytes(image), format="rgb24").reformat(format=PIXELS)
            picture.pts, picture.time_base = number, 1 / encoding.fps
            if number == len(images) - 2:
                # So the last frame is also the last to be decoded: FFmpeg takes the end of a growing file from that one.
                picture.pict_type = PictureType.P
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return Segment(data=file.getvalue(), frames=(start, start + images.shape[0]), encoding=encoding)


class Joiner:
    """Puts segments one behind the other into a file that is open for writing."""

    def __init__(self, container: av.container.OutputContainer) -> None:
        self._container = container
        self._stream: Any = None
        self._frames = 0

    def append(self, segment: Segment) -> None:
        """Add the frames of a segment behind those that are there. All segments have one size and one encoding."""
        with segment.opened() as source:
            original = source.streams.video[0]
            if self._stream is None:
                # Opaque: PyAV 14 would open an encoder else, and write its headers in place of the segment's.
                self._stream = self._container.add_stream_from_template(original, opaque=True)
            ticks = cast(Fraction, original.time_base) * segment.encoding.fps
            delay = REORDERING if original.codec_context.has_b_frames else 0
            for number, packet in enumerate(packet for packet in source.demux(original) if packet.size):
                place = round(cast(int, packet.pts) * ticks)
                packet.stream, packet.time_base, packet.duration = self._stream, 1 / segment.encoding.fps, 1
                packet.pts, packet.dts = self._frames + place, self._frames + number - delay
                self._container.mux(packet)
        self._frames += segment.frames[1] - segment.frames[0]


def join_segments(path: Path, segments: Sequence[Segment], metadata: Mapping[str, Any] | None = None) -> None:
    """Write an MP4 file that shows the segments one after the other; nothing is encoded again.

    Players can begin before they have all of the file. `metadata` is kept in it, each value as JSON.
    """
    with av.open(str(path), mode="w", options=FILE_MUXER) as container:
        for key, value in (metadata or {}).items():
            container.metadata[key] = json.dumps(value)
        joiner = Joiner(container)
        for segment in segments:
            joiner.append(segment)


def _add_stream(container: av.container.OutputContainer, encoding: Encoding) -> Any:
    """A video stream that encodes with one thread: by default x264 takes one for each core, and each number gives other bytes."""
    options = {"crf": str(encoding.crf), "threads": "1", "x264-params": X264_CODE}
    stream: Any = container.add_stream(CODEC, rate=encoding.fps, options=options)
    stream.pix_fmt = PIXELS
    return stream


def _even(images: Tensor) -> Tensor:
    """The images with their last row or column repeated where their number is odd; yuv420p halves both."""
    height, width = images.shape[1:3]
    if height % 2 == 0 and width % 2 == 0:
        return images
    logger.warning(
        "The video is %dx%d; H.264 needs even numbers, its last column or row is repeated.", width, height
    )
    rows = torch.arange(height + height % 2).clamp(max=height - 1)
    columns = torch.arange(width + width % 2).clamp(max=width - 1)
    return images[:, rows][:, :, columns]
