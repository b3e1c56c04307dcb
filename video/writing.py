"""MP4 files that can be watched while they are written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)

CODEC = "libx264"
MUXER = {
    # A fragment a frame: what is written can be played. On closing FFmpeg makes an ordinary MP4 of it. Signed offsets
    # because fragments have no edit list that could hide the delay of B frames.
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


def to_bytes(image: Tensor) -> np.ndarray:
    """The same picture or pictures as uint8 0..255, on the CPU."""
    return image.detach().float().mul(255).round().clamp(0, 255).to(device="cpu", dtype=torch.uint8).numpy()


class VideoWriter:
    """Writes H.264 in yuv420p to an MP4 file, a run of frames at a time; what was written can be read at once.

    `crf` is x264's quality, 0 (lossless) to 51; `metadata` is kept as JSON texts. Use it in a `with` block.
    """

    def __init__(
        self,
        path: Path,
        fps: float | Fraction,
        *,
        crf: int = 18,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        # h264's time base cannot hold arbitrary fractions; a thousandth of a frame a second is fine enough.
        self._rate = Fraction(round(Fraction(fps) * 1000), 1000)
        self._options = {"crf": str(crf)}
        self._frames = 0
        self._container = av.open(str(path), mode="w", options=MUXER)
        for key, value in (metadata or {}).items():
            self._container.metadata[key] = json.dumps(value)
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def write(self, images: Tensor) -> None:
        """Append `images` [T, H, W, 3] in 0..1, all of one size; an odd width or height is made even."""
        images = _even(images)
        if self._stream is None:
            self._stream = self._container.add_stream(CODEC, rate=self._rate, options=self._options)
            _set_size(self._stream, images)
        # One encoder holds back dozens of frames and, once drained, takes no more: each run gets its own.
        encoder = self._encoder(images)
        for image in images:
            picture = av.VideoFrame.from_ndarray(to_bytes(image), format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = self._frames, 1 / self._rate
            self._frames += 1
            self._mux(encoder.encode(picture))
        self._mux(encoder.encode(None))

    def _encoder(self, images: Tensor) -> Any:
        encoder = av.CodecContext.create(CODEC, "w")
        _set_size(encoder, images)
        encoder.framerate, encoder.time_base = self._rate, 1 / self._rate
        encoder.options = self._options
        # MP4 keeps the codec's headers once, in front.
        encoder.flags |= av.codec.context.Flags.global_header
        return encoder

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.stream, packet.time_base, packet.duration = self._stream, 1 / self._rate, 1
            self._container.mux(packet)


def _set_size(target: Any, images: Tensor) -> None:
    target.height, target.width = images.shape[1:3]
    target.pix_fmt = "yuv420p"


def _even(images: Tensor) -> Tensor:
    # yuv420p keeps colour for every second pixel.
    height, width = images.shape[1:3]
    if height % 2 == 0 and width % 2 == 0:
        return images
    logger.warning(
        "The video is %dx%d; H.264 needs even numbers, its last column or row is repeated.", width, height
    )
    rows = torch.arange(height + height % 2).clamp(max=height - 1)
    columns = torch.arange(width + width % 2).clamp(max=width - 1)
    return images[:, rows][:, :, columns]
