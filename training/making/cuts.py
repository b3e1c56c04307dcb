"""Where a clip's picture changes all at once, as a proposal for its captions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ...samplers.context.plan import FPS

# A cut differs from the frame before by more than this, in 0..1, and by so many times what frames usually differ by.
LEAST, TIMES = 0.06, 6.0
PROMPT = "write the prompt here"


def find_cuts(differences: Sequence[float]) -> list[int]:
    """The frames that differ from the one before as a cut does; differences[i] is between the frames i and i + 1."""
    if not differences:
        return []
    usual = median(differences)
    return [place + 1 for place, value in enumerate(differences) if value > LEAST and value > TIMES * usual]


def proposal(cuts: Sequence[int]) -> str:
    """A caption with a place for every prompt, for the user to fill in."""
    return " ".join([PROMPT, *(f"[{frame / FPS:.3f}s: {PROMPT}]" for frame in cuts)]) + "\n"
