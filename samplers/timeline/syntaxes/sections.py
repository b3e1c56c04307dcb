"""Prompts by the number of the section, as in musubi-tuner: `0:a man;;;2-3:an empty room;;;-1:night`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from .elements.marks import read_span
from .elements.pieces import split_pieces
from .elements.times import narrow, read_seed
from .spans import PlacedSpan, PromptSyntaxError, VideoLength

EXAMPLE = "0:a man;;;2-3:an empty room;;;-1:night"
SEPARATOR = ";;;"

_PART = re.compile(r"\s*(-?[0-9]+)\s*(?:-\s*(-?[0-9]+)\s*)?(?:#\s*([0-9]+)\s*)?:(.*)", re.DOTALL)
_MOST_DIGITS = 9


class _Part(NamedTuple):
    """One part of the text: its first and last section, both from the start or both negative, its seed, and what it says."""

    first: int
    last: int
    seed: int | None
    body: str


def looks_like_sections(text: str) -> bool:
    """Whether the separator `;;;` is in the text."""
    return SEPARATOR in narrow(text)


def read_sections(text: str, length: VideoLength) -> list[PlacedSpan]:
    """A span for every section of the video, and for sections beyond its end; raises PromptSyntaxError.

    Sections are numbered from 0; those that no part names get the prompt of section 0. As in musubi-tuner, negative
    numbers count from the end and win over others, and later parts win over earlier ones. A seed belongs to the first
    section of its part.
    """
    count = length.known_sections(text)
    from_start: dict[int, PlacedSpan] = {}
    from_end: dict[int, PlacedSpan] = {}
    for position, piece in split_pieces(text, SEPARATOR):
        first, last, seed, body = _read_part(piece, text, position, count)
        placed = PlacedSpan(position, read_span(0.0, body, text, position))
        table = from_end if first < 0 else from_start
        table.update(dict.fromkeys(range(first, max(min(last, count - 1), first) + 1), placed))
        table[first] = PlacedSpan(position, replace(placed.span, section_seed=seed))
    first_placed = from_start[min(from_start)] if from_start else from_end[min(from_end)]
    fallback = PlacedSpan(first_placed.position, replace(first_placed.span, section_seed=None))
    named = [from_end.get(i - count) or from_start.get(i) or fallback for i in range(count)]
    beyond = {i: placed for i, placed in from_start.items() if i >= count}
    return [
        PlacedSpan(position, replace(span, start=round(i * length.section_seconds, 6)))
        for i, (position, span) in [*enumerate(named), *beyond.items()]
    ]


def _read_part(piece: str, text: str, position: int, count: int) -> _Part:
    match = _PART.fullmatch(narrow(piece))
    if match is None and position == 0:
        return _Part(0, 0, None, piece)
    if match is None:
        raise PromptSyntaxError(
            text,
            position,
            "this part names no section; write index:prompt, such as 2:prompt, 2-3:prompt or -1:prompt.",
        )
    if any(len(number.lstrip("-")) > _MOST_DIGITS for number in match.groups("")[:2]):
        raise PromptSyntaxError(text, position, "no video has that many sections; give a smaller index.")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if min(first, last) < -count:
        raise PromptSyntaxError(
            text,
            position,
            f"section {min(first, last)} lies before the first one; the video has {count} sections.",
        )
    last = _on_the_same_side(first, last, count)
    if last < first:
        raise PromptSyntaxError(
            text,
            position,
            f"the range {match[1]} to {match[2]} runs backwards in a "
            f"video of {count} sections; put the earlier section first.",
        )
    seed = None if match[3] is None else read_seed(match[3], text, position)
    return _Part(first, last, seed, piece[match.start(4) :])


def _on_the_same_side(first: int, last: int, count: int) -> int:
    """The last section counted from the same side as the first one: from the end (negative) or from the start."""
    if first < 0 <= last:
        return min(last, count - 1) - count
    if last < 0 <= first:
        return last + count
    return last
