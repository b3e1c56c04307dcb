"""MP4 files that can be played while they are still being written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from torch import Tensor

from .segments import Encoding, Joiner, Segment, encode_segment

# FFmpeg's options for the file. Every frame is a fragment of its own, so that what is written can be played; on closing
# FFmpeg makes an ordinary MP4 of it. Fragments have no edit list that could hide the delay of B frames, hence the
# signed offsets.
MUXER = {
    "movflags": "+".join(
        (
            "use_metadata_tags",
            "hybrid_fragmented",
            "frag_every_frame",
            "default_base_moof",
            "negative_cts_offsets",
        )
    ),
    "flush_packets": "1",
}


QUALITY = 18  # x264's crf where nothing else is asked for


class VideoWriter:
    """Writes an MP4 file (H.264, yuv420p) several frames at a time; use it in a `with` block.

    Frames can be read from the file as soon as `write` returns. `fps` is rounded to a thousandth; `crf` is x264's
    quality, from 0 (lossless) to 51; `metadata` is kept in the file, each value as JSON.
    """

    def __init__(
        self,
        path: Path,
        fps: float | Fraction,
        *,
        crf: int = QUALITY,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._encoding = Encoding.of(fps, crf)
        self._frames = 0
        self._container = av.open(str(path), mode="w", options=MUXER)
        for key, value in (metadata or {}).items():
            self._container.metadata[key] = json.dumps(value)
        self._joiner = Joiner(self._container)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def write(self, images: Tensor) -> Segment:
        """Append frames [T, H, W, 3] with values 0 to 1, and return them encoded.

        All frames of a file have the same size; an odd height or width is made even.
        """
        segment = encode_segment(images, self._encoding, start=self._frames)
        self.append(segment)
        return segment

    def append(self, segment: Segment) -> None:
        """Append frames that are encoded already, with the file's frame rate and quality."""
        self._joiner.append(segment)
        self._frames += segment.frames[1] - segment.frames[0]
