"""Prompts over time as text: every notation in use is read into spans, and spans are written back in one.

    brackets   a man in a room [3s: the man disappears => an empty room] [6s-8s cut: a street at night]
    sections   0:a man;;;2-3:nobody;;;-1:night
    bars       a man | nobody | night
    lines      one prompt per line

In all of them `=>` separates the prompt from its state text, what can be seen afterwards; a backslash before
[ ] or => makes it plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isfinite
from typing import Any

SYNTAXES = ("auto", "brackets", "sections", "bars", "lines")

_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
# Backslashes count only right before a mark: two stand for one, and an odd one makes the mark plain text.
_MARK = re.compile(r"(?<!\\)(\\*)(\[|\]|=>)")
_TIMED = re.compile(r"\s*[-+]?\.?[0-9][0-9.,]*\s*[sS\-:!~]")
_HEADER = re.compile(
    rf"\s*({_NUMBER})\s*(s?)\s*(?:-\s*(?:({_NUMBER})\s*(s?))?)?(?![0-9.])(.*)", re.DOTALL | re.IGNORECASE
)
_INDEXED = re.compile(r"\s*(-?[0-9]+)\s*(?:-\s*(-?[0-9]+)\s*)?:(.*)", re.DOTALL)
_OPTION = re.compile(r"!|~\s*[0-9]+|[^\s!~]+|~")
_LONGEST_INDEX = 9
_LONGEST_BLEND = 4
_FLAGS = {"!": "forced", "cut": "cut", "sham": "sham"}
_Placed = tuple[int, "PromptSpan"]


class PromptSyntaxError(ValueError):
    """A text that cannot be read as prompts over time; `position` is the character where reading stopped."""

    def __init__(self, text: str, position: int, message: str) -> None:
        line = text.count("\n", 0, position) + 1
        column = position - text.rfind("\n", 0, position)
        super().__init__(f"prompt timeline, line {line}, column {column}: {message}")
        self.position = position


@dataclass(frozen=True)
class PromptSpan:
    """A prompt in force from `start` seconds until the next span.

    `state` describes what can be seen afterwards ("" = the prompt says it). `forced` makes it a switch even
    where its text repeats the one before; `sham` is such a repetition on purpose, a switch without a change.
    `cut` begins a new shot that remembers nothing; `blend` is the number of sections over which the text moves here.
    """

    start: float
    text: str
    state: str = ""
    forced: bool = False
    sham: bool = False
    cut: bool = False
    blend: int = 0


def parse(
    text: str, syntax: str = "auto", *, sections: int | None = None, section_seconds: float = 1.2
) -> list[PromptSpan]:
    """Read prompts over time; spans rise in start, the first one starts at 0 s.

    `sections` of `section_seconds` each are the video's length, which every syntax but brackets divides.
    Raises PromptSyntaxError with the position and a remedy.
    """
    if syntax not in SYNTAXES:
        raise ValueError(f"syntax is {syntax!r}; choose one of {', '.join(SYNTAXES)}.")
    if not text.strip():
        raise PromptSyntaxError(text, 0, "the text is empty; write at least one prompt.")
    syntax = detect_syntax(text) if syntax == "auto" else syntax
    if syntax == "brackets":
        return _joined(_brackets(text), text)
    if syntax == "sections":
        return _joined(_indexed(text, sections, section_seconds), text)
    pieces = _pieces(text, "|" if syntax == "bars" else "\n")
    if syntax == "lines":
        pieces = [(position, piece) for position, piece in pieces if piece.strip()]
    return _joined(_spread(pieces, text, sections, section_seconds), text)


def detect_syntax(text: str) -> str:
    """Name the syntax of a text by the first of these in it: a timed bracket, `;;;`, `|`; else lines."""
    if any(_TIMED.match(text, opening + 1) for opening in _openings(text)):
        return "brackets"
    if ";;;" in text:
        return "sections"
    return "bars" if "|" in text else "lines"


def format_spans(spans: list[PromptSpan]) -> str:
    """Write spans in brackets, one per line; `parse` reads the same spans back."""
    return "\n".join(f"[{_plain(span.start)}s{_options_of(span)}: {_body_of(span)}]" for span in spans)


def _options_of(span: PromptSpan) -> str:
    blend = f"~{span.blend}" if span.blend else ""
    return f"{'!' * span.forced}{blend}{' cut' * span.cut}{' sham' * span.sham}"


def _plain(seconds: float) -> str:
    digits = format(Decimal(repr(float(seconds))), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _body_of(span: PromptSpan) -> str:
    body = " => ".join(_MARK.sub(r"\1\1\\\2", part) for part in (span.text, span.state) if part)
    return body + "\\" * (len(body) - len(body.rstrip("\\")))


_NEEDS_A_PROMPT_BEFORE = {
    "sham": "a sham switch repeats the prompt before it",
    "cut": "a cut ends the shot of the prompt before it",
    "blend": "~ blends with the prompt before it",
}


def _joined(placed: list[_Placed], text: str) -> list[PromptSpan]:
    """Put the first span at 0 s and drop those that only repeat the running prompt."""
    (position, first), *rest = sorted(placed, key=lambda item: item[1].start)
    for option, needs in _NEEDS_A_PROMPT_BEFORE.items():
        if getattr(first, option):
            raise PromptSyntaxError(
                text, position, f"{needs}, but this one is the first; remove that option."
            )
    spans, latest = [replace(first, start=0.0)], first.start
    for position, span in rest:
        if span.start == latest:
            raise PromptSyntaxError(
                text,
                position,
                f"two prompts start at {span.start:g} s; give each a "
                "start of its own (text outside the brackets starts at 0 s).",
            )
        latest = span.start
        if not _repeats(span, spans[-1], text, position):
            spans.append(span)
    return spans


def _repeats(span: PromptSpan, running: PromptSpan, text: str, position: int) -> bool:
    """Whether a span only continues the running one."""
    same = span.text == running.text
    if span.sham and not same:
        raise PromptSyntaxError(
            text,
            position,
            "a sham switch must repeat the prompt before it word for "
            "word; copy that prompt, or remove `sham`.",
        )
    if not same or span.sham or span.forced or span.cut:
        return False
    if span.state not in ("", running.state):
        raise PromptSyntaxError(
            text,
            position,
            "this prompt repeats the one before but its state text "
            "differs; change the prompt, or remove the state text.",
        )
    return True


# brackets


def _openings(text: str) -> Iterator[int]:
    """Positions of all [ that no backslash escapes."""
    return (mark.start(2) for mark in _MARK.finditer(text) if mark[2] == "[" and len(mark[1]) % 2 == 0)


def _brackets(text: str) -> list[_Placed]:
    """Entries in brackets, and the text outside of them as the span from 0 s."""
    placed: list[tuple[int, PromptSpan, float | None]] = []
    outside, end = [], 0
    for opening in _openings(text):
        if opening < end or not _TIMED.match(text, opening + 1):
            continue
        outside.append(text[end:opening])
        end = _closing(text, opening) + 1
        placed.append((opening, *_entry(text, opening, end - 1)))
    rest = " ".join(part.strip() for part in [*outside, text[end:]] if part.strip())
    if ";;;" in rest:
        raise PromptSyntaxError(
            text, text.find(";;;"), "[time: prompt] and index:prompt;;; are mixed; use one of them."
        )
    if rest.strip(" ,;.") or not placed:
        placed.append((0, _span(0.0, rest, text, 0), None))
    return _without_overlaps(placed, text)


def _closing(text: str, opening: int) -> int:
    """Position of the ] that closes an entry; plain brackets inside must come in pairs."""
    depth = 1
    for mark in _MARK.finditer(text, opening + 1):
        if mark[2] == "=>" or len(mark[1]) % 2:
            continue
        if mark[2] == "[" and _TIMED.match(text, mark.end()):
            raise PromptSyntaxError(
                text,
                mark.start(2),
                "an entry begins inside another one; close the "
                "first with ], or write \\[ for a bracket of the prompt.",
            )
        depth += 1 if mark[2] == "[" else -1
        if depth == 0:
            return mark.start(2)
    raise PromptSyntaxError(
        text,
        opening,
        "this [ is never closed; add a ] after the prompt, or write \\[ for a bracket of the prompt.",
    )


def _entry(text: str, opening: int, closing: int) -> tuple[PromptSpan, float | None]:
    """Span and end (None = open) of the entry `[start-end options: body]`."""
    colon = text.find(":", opening, closing)
    if colon < 0:
        raise PromptSyntaxError(
            text, opening, "this entry has no colon; write [3s: prompt], or \\[ for a bracket of the prompt."
        )
    start, end, options = _header(text, opening + 1, colon)
    body = text[colon + 1 : closing]
    backslashes = len(body) - len(body.rstrip("\\"))
    span = _span(start, body[: len(body) - backslashes // 2], text, colon + 1)
    return replace(span, **options), end


def _header(text: str, begin: int, colon: int) -> tuple[float, float | None, dict[str, Any]]:
    """Start, end and options (fields of PromptSpan) of an entry."""
    header = text[begin:colon]
    if header.lstrip().startswith(("-", "+")):
        raise PromptSyntaxError(
            text, begin, f"{header.strip()!r} has a sign; times count from 0 s, write [3s: prompt]."
        )
    match = _HEADER.match(header)
    if match is None or not (match[2] or match[4]):
        raise PromptSyntaxError(
            text,
            begin,
            f"{header.strip()!r} is no time; write seconds with an s, "
            "such as [3s: prompt] or [3s-5.5s: prompt] (and \\[ for a bracket of the "
            "prompt).",
        )
    start, end = float(match[1]), float(match[3]) if match[3] else None
    if not isfinite(start) or (end is not None and not isfinite(end)):
        raise PromptSyntaxError(text, begin, "this time is too large for any video.")
    if end is not None and end <= start:
        raise PromptSyntaxError(
            text,
            begin,
            f"this entry ends at {end:g} s but starts at {start:g} s; put the earlier time first.",
        )
    return start, end, _options(text, begin + match.start(5), match[5])


def _options(text: str, position: int, written: str) -> dict[str, Any]:
    """What stands between the time and the colon, as fields of PromptSpan."""
    options: dict[str, Any] = {}
    for word in _OPTION.findall(written):
        if word in _FLAGS:
            options[_FLAGS[word]] = True
        elif word[0] == "~" and 0 < len(word[1:].strip()) <= _LONGEST_BLEND:
            options["blend"] = int(word[1:])
        else:
            raise PromptSyntaxError(
                text,
                position,
                f"{word!r} is no option; after the time only ! (always a switch), ~2 (blended over 2 sections), cut "
                "(a new shot) and sham (a switch that repeats the prompt) may follow.",
            )
    if options.get("cut") and (options.get("sham") or options.get("blend")):
        raise PromptSyntaxError(
            text, position, "a cut remembers nothing to blend with or to repeat; remove cut, or ~ and sham."
        )
    return options


def _without_overlaps(placed: list[tuple[int, PromptSpan, float | None]], text: str) -> list[_Placed]:
    """Where two entries overlap the earlier one keeps its time, and the later one starts at its end."""
    taken, result = 0.0, []
    for position, span, end in sorted(placed, key=lambda item: item[1].start):
        if end is not None and end <= taken:
            raise PromptSyntaxError(
                text,
                position,
                f"this entry lies inside an earlier one, which lasts until {taken:g} s; shorten that one.",
            )
        result.append((position, replace(span, start=max(span.start, taken))))
        taken = max(taken, end or 0.0)
    return result


# The other syntaxes


def _pieces(text: str, separator: str) -> list[tuple[int, str]]:
    """Parts between separators, each with its position."""
    pieces, position = [], 0
    for piece in text.split(separator):
        pieces.append((position, piece))
        position += len(piece) + len(separator)
    return pieces


def _spread(
    pieces: list[tuple[int, str]], text: str, sections: int | None, section_seconds: float
) -> list[_Placed]:
    """Give every piece the same share of the video."""
    length = 0.0 if len(pieces) == 1 else _known(sections, text) * section_seconds
    return [
        (position, _span(round(i / len(pieces) * length, 6), piece, text, position))
        for i, (position, piece) in enumerate(pieces)
    ]


def _indexed(text: str, sections: int | None, section_seconds: float) -> list[_Placed]:
    """`index:prompt` parts by section, from 0; sections that none of them names get the prompt of section 0.

    As in musubi-tuner, negative indices count from the end and win over others; later parts win over earlier.
    """
    count = _known(sections, text)
    from_start: dict[int, _Placed] = {}
    from_end: dict[int, _Placed] = {}
    for position, piece in _pieces(text, ";;;"):
        first, last, body = _index_range(piece, text, position, count)
        placed = (position, _span(0.0, body, text, position))
        table = from_end if first < 0 else from_start
        table.update(dict.fromkeys(range(first, max(min(last, count - 1), first) + 1), placed))
    fallback = from_start[min(from_start)] if from_start else from_end[min(from_end)]
    named = [from_end.get(i - count) or from_start.get(i) or fallback for i in range(count)]
    beyond = {i: placed for i, placed in from_start.items() if i >= count}
    return [
        (position, replace(span, start=round(i * section_seconds, 6)))
        for i, (position, span) in [*enumerate(named), *beyond.items()]
    ]


def _index_range(piece: str, text: str, position: int, count: int) -> tuple[int, int, str]:
    """First and last section (both from the start, or both negative) and body of one part."""
    match = _INDEXED.fullmatch(piece)
    if match is None and position == 0:
        return 0, 0, piece
    if match is None:
        raise PromptSyntaxError(
            text,
            position,
            "this part names no section; write index:prompt, such as 2:prompt, 2-3:prompt or -1:prompt.",
        )
    if any(len(number.lstrip("-")) > _LONGEST_INDEX for number in match.groups("")[:2]):
        raise PromptSyntaxError(text, position, "no video has that many sections; give a smaller index.")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if min(first, last) < -count:
        raise PromptSyntaxError(
            text,
            position,
            f"section {min(first, last)} lies before the first one; the video has {count} sections.",
        )
    if first < 0 <= last:
        last = min(last, count - 1) - count
    if last < 0 <= first:
        last += count
    if last < first:
        raise PromptSyntaxError(
            text,
            position,
            f"the range {match[1]} to {match[2]} runs backwards in a "
            f"video of {count} sections; put the earlier section first.",
        )
    return first, last, match[3]


def _known(sections: int | None, text: str) -> int:
    if sections is None:
        raise PromptSyntaxError(
            text, 0, "this syntax needs the length of the video; use [3s: prompt] instead."
        )
    return sections


def _span(start: float, raw: str, text: str, position: int) -> PromptSpan:
    """Read `prompt` or `prompt => state`, with the backslashes before marks resolved."""
    parts, end = [""], 0
    for mark in _MARK.finditer(raw):
        parts[-1] += raw[end : mark.start()] + "\\" * (len(mark[1]) // 2)
        end = mark.end()
        if mark[2] == "=>" and len(mark[1]) % 2 == 0:
            parts.append("")
        else:
            parts[-1] += mark[2]
    parts[-1] += raw[end:]
    prompt, *states = (part.strip() for part in parts)
    if not prompt:
        raise PromptSyntaxError(text, position, "a prompt is missing here; write one, or remove the part.")
    if len(states) > 1 or "" in states:
        raise PromptSyntaxError(
            text,
            position,
            "after the prompt one => and one state text may follow; write \\=> for an arrow of the prompt.",
        )
    return PromptSpan(start, prompt, *states)
