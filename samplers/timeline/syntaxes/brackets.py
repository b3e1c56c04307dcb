r"""Prompts with their times in brackets: `a man [3s: the man leaves => an empty room] [6s-8s cut: night]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from math import isfinite
from typing import Any, NamedTuple

from .elements.marks import MARK, escape_marks, is_escaped, read_span
from .spans import PlacedSpan, PromptSpan, PromptSyntaxError, VideoLength

EXAMPLE = "a man sits in a living room\n[3s: the man disappears] [6.5s-8s: night falls]"

_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_TIMED = re.compile(r"\s*[-+]?\.?[0-9][0-9.,]*\s*[sS\-:!~]")
_HEADER = re.compile(
    rf"\s*({_NUMBER})\s*(s?)\s*(?:-\s*(?:({_NUMBER})\s*(s?))?)?(?![0-9.])(.*)", re.DOTALL | re.IGNORECASE
)
_OPTION = re.compile(r"!|~\s*[0-9]+|[^\s!~]+|~")
_MOST_BLEND_DIGITS = 4
_FLAGS = {"!": "forced", "cut": "cut", "sham": "sham"}  # as written, and the field of PromptSpan


class _Entry(NamedTuple):
    """A bracket of the text: where it begins in the text, its span, and its end in seconds (None = open)."""

    position: int
    span: PromptSpan
    end: float | None


def looks_like_brackets(text: str) -> bool:
    """Whether there is a bracket in the text that begins with a time."""
    return any(_TIMED.match(text, opening + 1) for opening in _openings(text))


def read_brackets(text: str, length: VideoLength) -> list[PlacedSpan]:
    """The spans of all brackets, and the text outside of them as the span from 0 s; raises PromptSyntaxError."""
    entries: list[_Entry] = []
    outside, end = [], 0
    for opening in _openings(text):
        if opening < end or not _TIMED.match(text, opening + 1):
            continue
        outside.append(text[end:opening])
        end = _closing(text, opening) + 1
        entries.append(_read_entry(text, opening, end - 1))
    rest = " ".join(part.strip() for part in [*outside, text[end:]] if part.strip())
    if ";;;" in rest:
        raise PromptSyntaxError(
            text, text.find(";;;"), "[time: prompt] and index:prompt;;; are mixed; use one of them."
        )
    if rest.strip(" ,;.") or not entries:
        entries.append(_Entry(0, read_span(0.0, rest, text, 0), None))
    return _without_overlaps(entries, text)


def _openings(text: str) -> Iterator[int]:
    """Positions of all [ that no backslash escapes."""
    return (mark.start(2) for mark in MARK.finditer(text) if mark[2] == "[" and not is_escaped(mark))


def _closing(text: str, opening: int) -> int:
    """Position of the ] that closes an entry; plain brackets inside must come in pairs."""
    depth = 1
    for mark in MARK.finditer(text, opening + 1):
        if mark[2] == "=>" or is_escaped(mark):
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


def _read_entry(text: str, opening: int, closing: int) -> _Entry:
    """The entry `[start-end options: body]` between two brackets."""
    colon = text.find(":", opening, closing)
    if colon < 0:
        raise PromptSyntaxError(
            text, opening, "this entry has no colon; write [3s: prompt], or \\[ for a bracket of the prompt."
        )
    start, end, options = _read_header(text, opening + 1, colon)
    body = text[colon + 1 : closing]
    backslashes = len(body) - len(body.rstrip("\\"))
    span = read_span(start, body[: len(body) - backslashes // 2], text, colon + 1)
    return _Entry(opening, replace(span, **options), end)


def _read_header(text: str, begin: int, colon: int) -> tuple[float, float | None, dict[str, Any]]:
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
    _check_times(start, end, text, begin)
    return start, end, _read_options(text, begin + match.start(5), match[5])


def _check_times(start: float, end: float | None, text: str, begin: int) -> None:
    if not isfinite(start) or (end is not None and not isfinite(end)):
        raise PromptSyntaxError(text, begin, "this time is too large for any video.")
    if end is not None and end <= start:
        raise PromptSyntaxError(
            text,
            begin,
            f"this entry ends at {end:g} s but starts at {start:g} s; put the earlier time first.",
        )


def _read_options(text: str, position: int, written: str) -> dict[str, Any]:
    """What stands between the time and the colon, as fields of PromptSpan."""
    options: dict[str, Any] = {}
    for word in _OPTION.findall(written):
        if word in _FLAGS:
            options[_FLAGS[word]] = True
        elif word[0] == "~" and 0 < len(word[1:].strip()) <= _MOST_BLEND_DIGITS:
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


def _without_overlaps(entries: list[_Entry], text: str) -> list[PlacedSpan]:
    """Where two entries overlap the earlier one keeps its time, and the later one starts at its end."""
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


# Back to text


def format_spans(spans: list[PromptSpan]) -> str:
    """The spans as text in brackets, one a line; `parse` reads the same spans back."""
    return "\n".join(
        f"[{_format_seconds(span.start)}s{_format_options(span)}: {_format_body(span)}]" for span in spans
    )


def _format_seconds(seconds: float) -> str:
    digits = format(Decimal(repr(float(seconds))), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _format_options(span: PromptSpan) -> str:
    blend = f"~{span.blend}" if span.blend else ""
    return f"{'!' * span.forced}{blend}{' cut' * span.cut}{' sham' * span.sham}"


def _format_body(span: PromptSpan) -> str:
    body = " => ".join(escape_marks(part) for part in (span.text, span.state) if part)
    return body + "\\" * (len(body) - len(body.rstrip("\\")))
