"""Prompts on lines that begin with their times: `0s: a man`, on the next line `3s: an empty room`."""

from __future__ import annotations

import re

from .elements.entries import Entry, read_entry, without_overlaps
from .elements.marks import read_span
from .elements.times import NUMBER, OPTION_WORD, OTHER_UNIT, UNIT, narrow, read_header
from .spans import PlacedSpan, VideoLength

EXAMPLE = "0s: a man\n3s: an empty room\n6s-8s: night"

_ANY_UNIT = rf"(?:{UNIT}|{OTHER_UNIT})"
_TIME = rf"{NUMBER}[ \t]*(?:{_ANY_UNIT}[ \t]*(?:-[ \t]*(?:{NUMBER}[ \t]*{_ANY_UNIT}?)?)?|-[ \t]*{NUMBER}[ \t]*{_ANY_UNIT})"
_LINE = re.compile(
    rf"^[ \t]*({_TIME}(?:[ \t]|!|[~#][ \t]*[0-9]+|{OPTION_WORD})*):", re.MULTILINE | re.IGNORECASE
)


def looks_like_times(text: str) -> bool:
    """Whether a line of the text begins with a time and a colon."""
    return _LINE.search(narrow(text)) is not None


def read_times(text: str, length: VideoLength) -> list[PlacedSpan]:
    """The spans of all lines that begin with a time; other lines go on with the prompt before them.

    Lines before the first time are the prompt from 0 s. Raises PromptSyntaxError.
    """
    lines = list(_LINE.finditer(narrow(text)))
    ends = [line.start() for line in lines[1:]] + [len(text)]
    entries: list[Entry] = [
        read_entry(
            read_header(text, line.start(1), line.end(1)),
            text[line.end() : end],
            text,
            position=line.start(1),
            body=line.end(),
        )
        for line, end in zip(lines, ends)
    ]
    before = text[: lines[0].start()] if lines else text
    if before.strip() or not entries:
        entries.append(Entry(0, read_span(0.0, before, text, 0), None))
    return without_overlaps(entries, text)
