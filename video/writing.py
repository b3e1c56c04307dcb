"""MP4 files that can be played while they are still being written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
import numpy as np
import torch
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

CODEC = "libx264"
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


def to_bytes(image: Tensor) -> NDArray[np.uint8]:
    """Images of any shape with values 0 to 1, as uint8 values 0 to 255 on the CPU."""
    return image.detach().float().mul(255).round().clamp(0, 255).to(device="cpu", dtype=torch.uint8).numpy()


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
        crf: int = 18,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        # H.264's time base cannot hold arbitrary fractions.
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
        """Append frames [T, H, W, 3] with values 0 to 1; an odd height or width is made even.

        All frames of a file have the same size.
        """
        images = _even(images)
        if self._stream is None:
            self._stream = self._container.add_stream(CODEC, rate=self._rate, options=self._options)
            _set_size(self._stream, images)
        # An encoder holds back dozens of frames, and takes no more once it has been drained: each call has its own.
        encoder = self._encoder(images)
        for image in images:
            picture = av.VideoFrame.from_ndarray(to_bytes(image), format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = self._frames, 1 / self._rate
            self._frames += 1
            self._mux(encoder.encode(picture))
        self._mux(encoder.encode(None))

    def _encoder(self, images: Tensor) -> VideoCodecContext:
        encoder = cast(VideoCodecContext, av.CodecContext.create(CODEC, "w"))
        _set_size(encoder, images)
        encoder.framerate, encoder.time_base = self._rate, 1 / self._rate
        encoder.options = self._options
        # MP4 keeps the codec's headers once, at its beginning.
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
