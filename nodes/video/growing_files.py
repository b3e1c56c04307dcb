"""Temporary files that show, in a node, how far its videos are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ...video.segments import Segment, join_segments
from ..host_messages import show_now
from ..output import OutputFile, new_output

logger = logging.getLogger(__name__)

ALWAYS_SHOWN = 64 * 2**20  # bytes: up to this size every state of a video is written
GROWTH = 1.1  # beyond it a state is written when the video is this much larger than the state before


class GrowingFiles:
    """Writes every state of growing videos to a file of its own, and removes the states that nobody plays any more.

    A file that is being played cannot be replaced everywhere, hence the new names.
    `prefix` begins the names of the files, `size` is the width and height of the videos.
    """

    def __init__(self, prefix: str, size: tuple[int, int]) -> None:
        self._prefix, self._size = prefix, size
        self._states: dict[int, OutputFile] = {}  # by the number of the video
        self._written: dict[int, int] = {}  # bytes of these
        self._replaced: dict[int, OutputFile] = {}  # the states before these
        self._finished: dict[int, OutputFile] = {}
        self._troubled = False

    def show(self, video: int, segments: Sequence[Segment]) -> None:
        """Write a state of the video with this number, and let the running node show it; a disk that is full ends nothing."""
        bytes_now = sum(_size_of(segment) for segment in segments)
        if bytes_now > ALWAYS_SHOWN and bytes_now < GROWTH * self._written.get(video, 0):
            return
        try:
            with new_output(self._prefix, ".mp4", self._size, temporary=True) as file:
                join_segments(file.path, segments)
        except OSError as error:  # such as a full disk, on which nothing depends that was asked for
            self._say(error)
            return
        replaced = self._states.get(video)
        self._states[video], self._written[video] = file, bytes_now
        show_now(self.shown())
        # A browser may still be loading the state before this one, but hardly the one before that.
        _remove(self._replaced.pop(video, None))
        if replaced is not None:
            self._replaced[video] = replaced

    def _say(self, error: OSError) -> None:
        if not self._troubled:
            logger.warning(
                "The growing video cannot be shown (%s); the run goes on.", error.strerror or error
            )
        self._troubled = True

    def shown(self) -> dict[str, Any]:
        """A node's `ui` that plays the finished videos and the latest states of the others."""
        files = [file.shown() for _, file in sorted({**self._states, **self._finished}.items())]
        return {"images": files, "animated": (True,)} if files else {}

    def finish(self, video: int, file: OutputFile) -> None:
        """Let this file stand for the video from now on; its states are no longer needed."""
        self._finished[video] = file

    def remove(self) -> None:
        """Remove all states, but not the finished videos."""
        self.remove_replaced()
        for file in self._states.values():
            _remove(file)
        self._states.clear()

    def remove_replaced(self) -> None:
        """Remove all states but the latest ones."""
        for file in self._replaced.values():
            _remove(file)
        self._replaced.clear()


def _remove(file: OutputFile | None) -> None:
    if file is None:
        return
    # Where a file that is being played cannot be removed, ComfyUI removes it when it starts again.
    with suppress(OSError):
        file.path.with_name(file.filename).unlink()


def _size_of(segment: Segment) -> int:
    return len(segment.data) if isinstance(segment.data, bytes) else segment.data.stat().st_size
