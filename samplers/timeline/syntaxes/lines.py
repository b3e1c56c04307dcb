"""One prompt a line, each with the same share of the video; empty lines count for nothing."""

from __future__ import annotations

from .elements.pieces import split_pieces, spread_evenly
from .spans import PlacedSpan, VideoLength

EXAMPLE = "a man\nan empty room\nnight"


def looks_like_lines(text: str) -> bool:
    """Always true: a text without any mark is a prompt, or one a line."""
    return True


def read_lines(text: str, length: VideoLength) -> list[PlacedSpan]:
    """The spans of the text; raises PromptSyntaxError."""
    pieces = [(position, piece) for position, piece in split_pieces(text, "\n") if piece.strip()]
    return spread_evenly(pieces, text, length)
