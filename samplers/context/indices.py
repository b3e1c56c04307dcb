"""Which frame indices the model sees for a section and for what it remembers.

Source: lllyasviel/FramePack, `demo_gradio_f1.py` (f1) and `demo_gradio.py` (original).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

HISTORY_1X, HISTORY_2X, HISTORY_4X = 1, 2, 16
HISTORY = HISTORY_1X + HISTORY_2X + HISTORY_4X
MAX_RECENT_FRAMES = 9  # FramePack-Studio's slider counts the start frame too, and ends at 10


class Direction(Enum):
    """The order in which the sections of a video are generated, and so on which side of a window its memory lies."""

    FORWARD = "forward"
    """From the start of the video to its end; a section remembers the frames before it."""
    BACKWARD = "backward"
    """From the end of the video to its start; a section remembers the frames after it."""


@dataclass(frozen=True, kw_only=True)
class SectionIndices:
    """Where the frames of one section lie on the model's own time axis, in latent frames.

    target: the frames that are generated, the section's window.
    clean: the frames at full resolution: the start frame, then the remembered frames next to the window, usually one.
    clean_2x: the remembered frames that are compressed twofold.
    clean_4x: the remembered frames that are compressed fourfold.
    direction: FORWARD where the memory lies before the window, BACKWARD where it lies after it.
    """

    target: tuple[int, ...]
    clean: tuple[int, ...]
    clean_2x: tuple[int, ...]
    clean_4x: tuple[int, ...]
    direction: Direction


def f1_indices(window: int, recent: int = HISTORY_1X) -> SectionIndices:
    """F1 generates forward: [start, 16 at 4x, 2 at 2x, `recent` at 1x, window]."""
    start, clean_4x, clean_2x, last, target = _split((1, HISTORY_4X, HISTORY_2X, recent, window))
    return SectionIndices(
        target=target,
        clean=start + last,
        clean_2x=clean_2x,
        clean_4x=clean_4x,
        direction=Direction.FORWARD,
    )


def original_indices(
    window: int, padding: int, recent: int = HISTORY_1X, *, whole: int = 0
) -> SectionIndices:
    """The original layout generates backwards: [start, blank, window, `recent` at 1x, 2 at 2x, 16 at 4x].

    `padding` counts whole sections of `whole` latent frames, 0 for as many as the window has.
    """
    start, _, target, last, clean_2x, clean_4x = _split(
        (1, padding * (whole or window), window, recent, HISTORY_2X, HISTORY_4X)
    )
    return SectionIndices(
        target=target,
        clean=start + last,
        clean_2x=clean_2x,
        clean_4x=clean_4x,
        direction=Direction.BACKWARD,
    )


def original_paddings(count: int) -> list[int]:
    """Distance of each section to the start frame, in windows; long videos repeat 2 instead of counting down."""
    if count > 4:
        return [3] + [2] * (count - 3) + [1, 0]
    return list(reversed(range(count)))


def _split(lengths: tuple[int, ...]) -> list[tuple[int, ...]]:
    parts: list[tuple[int, ...]] = []
    first = 0
    for length in lengths:
        parts.append(tuple(range(first, first + length)))
        first += length
    return parts
