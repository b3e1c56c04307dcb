"""Prompts that say when their time ends."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ..spans import PlacedSpan, PromptSpan, PromptSyntaxError
from .marks import read_span
from .times import Header


class Entry(NamedTuple):
    """A prompt with its time: where it begins in the text, its span, and its end in seconds (None = open)."""

    position: int
    span: PromptSpan
    end: float | None


def read_entry(header: Header, raw: str, text: str, *, position: int, body: int) -> Entry:
    """The entry at `position` of `text` with a header; its prompt `raw` lies at `body`. Raises PromptSyntaxError."""
    span = read_span(header.start, raw, text, body)
    return Entry(position, replace(span, **header.options), header.end)


def without_overlaps(entries: list[Entry], text: str) -> list[PlacedSpan]:
    """Where two entries overlap the earlier one keeps its time, and the later one starts at its end.

    Raises PromptSyntaxError for an entry that lies inside another one.
    """
    taken, result = 0.0, []
    for position, span, end in sorted(entries, key=lambda entry: entry.span.start):
        if end is not None and end <= taken:
            raise PromptSyntaxError(
                text,
                position,
                f"this entry lies inside an earlier one, which lasts until {taken:g} s; shorten that one.",
            )
        result.append(PlacedSpan(position, replace(span, start=max(span.start, taken))))
        taken = max(taken, end or 0.0)
    return result
