"""The MP4 files that FramePack Decode writes, each of which plays and is shown while it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from ...video.decode import SPACE_FACTOR
from ...video.growing import GrowingVideo
from ...video.pieces import Piece, Stretch
from ...video.segments import Encoding, Segment
from ...video.writing import VideoWriter
from ..comfyui import inside_comfyui
from ..output import OutputFile, new_output
from .growing_files import GrowingFiles


class GrowingFile:
    """A file in the making, which the node shows while it grows.

    The segments are kept until the file is finished: they take less memory than the latents that they come from.
    """

    def __init__(self, number: int, begin: Callable[[], VideoWriter], states: GrowingFiles) -> None:
        self._number, self._begin, self._states = number, begin, states
        self._writer: VideoWriter | None = None
        self._segments: list[Segment] = []

    def grow(self, decoded: GrowingVideo, pieces: list[Piece]) -> Iterator[list[Stretch]]:
        """Let a video be decoded piece by piece, and show it while there are more; give the frames that are settled each time."""
        known = 0
        for piece in pieces:
            settled, known = decoded.reach(known, piece.stop), piece.stop
            for segment in decoded.segments[len(self._segments) :]:
                self.append(segment)
            if piece is not pieces[-1] and self._segments and inside_comfyui():
                self._states.show(self._number, self._segments)
            yield settled

    def append(self, segment: Segment) -> None:
        """Add frames that are encoded already. The file begins with the first ones, so that it is never empty."""
        if self._writer is None:
            self._writer = self._begin()
        self._writer.append(segment)
        self._segments.append(segment)


class VideoFiles:
    """The MP4 files of one run of the node, all written in the same way, one for each of the latents."""

    def __init__(self, *, prefix: str, latents: Tensor, encoding: Encoding, metadata: dict[str, Any]) -> None:
        height, width = latents.shape[-2:]
        self._size = (SPACE_FACTOR * width, SPACE_FACTOR * height)
        self._prefix, self._encoding, self._metadata = prefix, encoding, metadata
        self._states = GrowingFiles("FramePack_decoding", self._size)
        self._begun: dict[int, OutputFile] = {}  # by the number of the video

    @contextmanager
    def new_video(self, number: int) -> Iterator[GrowingFile]:
        """The file of the video with this number in the batch. Where the block fails, the part that plays is kept."""
        try:
            with ExitStack() as stack:
                yield GrowingFile(number, lambda: self._begin(number, stack), self._states)
            self._states.finish(number, self._begun[number])
        finally:
            self._states.remove()

    def _begin(self, number: int, stack: ExitStack) -> VideoWriter:
        """The writer of a video's file, which is closed with the stack."""
        file = stack.enter_context(new_output(self._prefix, ".mp4", self._size, grows=True))
        self._begun[number] = file
        fps, crf = self._encoding.fps, self._encoding.crf
        return stack.enter_context(VideoWriter(file.path, fps, crf=crf, metadata=self._metadata))

    def shown(self) -> dict[str, Any]:
        """The node's `ui`: ComfyUI plays these files."""
        return self._states.shown()
