"""Which frame indices the model sees for a section and for what it remembers.

Source: lllyasviel/FramePack, `demo_gradio_f1.py` (f1) and `demo_gradio.py` (original).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

HISTORY_1X, HISTORY_2X, HISTORY_4X = 1, 2, 16
HISTORY = HISTORY_1X + HISTORY_2X + HISTORY_4X
MAX_RECENT_FRAMES = 9  # FramePack-Studio's slider counts the start frame too, and ends at 10
# In sections; the original model was trained with whole distances from 0 to this one.
MAX_PADDING = 3


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
    window: int, padding: float, recent: int = HISTORY_1X, *, whole: int = 0
) -> SectionIndices:
    """The original layout generates backwards: [start, blank, window, `recent` at 1x, 2 at 2x, 16 at 4x].

    `padding` counts sections of `whole` latent frames, 0 for as many as the window has; a part of a latent frame is left out.
    """
    start, _, target, last, clean_2x, clean_4x = _split(
        (1, int(padding * (whole or window)), window, recent, HISTORY_2X, HISTORY_4X)
    )
    return SectionIndices(
        target=target,
        clean=start + last,
        clean_2x=clean_2x,
        clean_4x=clean_4x,
        direction=Direction.BACKWARD,
    )


def check_padding(direction: Direction, padding: float | None) -> None:
    """Raises ValueError for a chosen distance to the start frame, in sections, that the layout does not have; None is none."""
    if padding is None:
        return
    if direction is Direction.FORWARD:
        raise ValueError(
            f"padding is {padding:g}, but layout f1 generates forward, where the start frame's place is fixed; choose layout "
            "original (with the original model), or set padding to -1 (automatic)."
        )
    if not 0 <= padding <= MAX_PADDING:
        raise ValueError(
            f"padding is {padding:g}; the original model knows the start frame 0 to {MAX_PADDING} sections away, so give such "
            "a distance, or -1 (automatic)."
        )


def original_paddings(count: int, chosen: float | None = None) -> Sequence[float]:
    """Distance of each section to the start frame, in windows; long videos repeat 2 instead of counting down.

    A `chosen` distance is that of all sections but the last one, which touches the start frame in any case.
    """
    if chosen is not None:
        return [chosen] * (count - 1) + [0]
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
