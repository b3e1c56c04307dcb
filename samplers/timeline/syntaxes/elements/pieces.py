"""Texts that a separator divides into prompts."""

from __future__ import annotations

from ..spans import PlacedSpan, VideoLength
from .marks import read_span
from .times import narrow

Piece = tuple[int, str]  # a part of a text, after the index of the character where it begins


def split_pieces(text: str, separator: str) -> list[Piece]:
    """The parts between separators, which may be full-width."""
    pieces, position = [], 0
    for part in narrow(text).split(separator):
        piece = text[position : position + len(part)]
        pieces.append((position, piece))
        position += len(piece) + len(separator)
    return pieces


def spread_evenly(pieces: list[Piece], text: str, length: VideoLength) -> list[PlacedSpan]:
    """A span for every piece, each with the same share of the video.

    Raises PromptSyntaxError where there are several pieces and the video's length is not known.
    """
    seconds = 0.0 if len(pieces) == 1 else length.known_sections(text) * length.section_seconds
    return [
        PlacedSpan(position, read_span(round(i / len(pieces) * seconds, 6), piece, text, position))
        for i, (position, piece) in enumerate(pieces)
    ]
