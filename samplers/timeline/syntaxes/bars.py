"""Prompts divided by bars, each with the same share of the video: `a man | an empty room | night`."""

from __future__ import annotations

from .elements.pieces import split_pieces, spread_evenly
from .elements.times import narrow
from .spans import PlacedSpan, VideoLength

EXAMPLE = "a man | an empty room | night"


def looks_like_bars(text: str) -> bool:
    """Whether there is a bar in the text."""
    return "|" in narrow(text)


def read_bars(text: str, length: VideoLength) -> list[PlacedSpan]:
    """The spans of the text; raises PromptSyntaxError."""
    return spread_evenly(split_pieces(text, "|"), text, length)
