"""How long each section of a video is, where some have to begin on a given latent frame."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise


def section_lengths(first: int, count: int, window: int, borders: Collection[int] = ()) -> tuple[int, ...]:
    """The latent frames of each section, in time, of a video of `count` times `window` latent frames from `first` on.

    A section begins at every one of the `borders` (latent frames of the video) that lies inside it. From each border on
    sections have the full window; what is left before the next border is a section of its own, and where that would be
    shorter than half a window the last two sections share their frames evenly. Without borders all have the full window.
    """
    end = first + count * window
    begins = sorted({first, end, *(border for border in borders if first < border < end)})
    return tuple(length for begin, stop in pairwise(begins) for length in _divided(stop - begin, window))


def _divided(frames: int, window: int) -> list[int]:
    """The lengths of the sections of one stretch between two borders."""
    whole, rest = divmod(frames, window)
    if rest == 0:
        return [window] * whole
    if whole == 0 or rest >= window // 2:
        return [window] * whole + [rest]
    shared = window + rest
    return [window] * (whole - 1) + [shared - shared // 2, shared // 2]
