r"""Prompts with their times in brackets: `a man [3s: the man leaves => an empty room] [6s-8s cut: night]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from .elements.entries import Entry, read_entry, without_overlaps
from .elements.marks import BRACKETS, MARK, escape_marks, is_escaped, read_span
from .elements.times import OPTION_WORD, OTHER_UNIT, narrow, read_header
from .spans import PlacedSpan, PromptSpan, PromptSyntaxError, VideoLength

EXAMPLE = "a man sits in a living room\n[3s: the man disappears] [6.5s-8s: night falls]"

_TIMED = re.compile(
    rf"\s*[-+]?\.?[0-9][0-9.,]*\s*(?:[s\-:!~#]|f(?:rames?)?\s*(?:[-:!~#]|{OPTION_WORD})|{OTHER_UNIT}\s*[-:])",
    re.IGNORECASE,
)
_SEPARATORS = " ,;.、。，；．"  # full-width ones too


def looks_like_brackets(text: str) -> bool:
    """Whether there is a bracket in the text that begins with a time."""
    narrowed = narrow(text)
    return any(_TIMED.match(narrowed, opening + 1) for opening in _openings(text))


def read_brackets(text: str, length: VideoLength) -> list[PlacedSpan]:
    """The spans of all brackets, and the text outside of them as the span from 0 s; raises PromptSyntaxError.

    Text behind the last bracket gives way to a bracket that starts at 0 s: it follows after that one's end, or where that
    is open after the first section, as in FramePack-Studio.
    """
    narrowed = narrow(text)
    entries: list[Entry] = []
    outside, end = [], 0
    for opening in _openings(text):
        if opening < end or not _TIMED.match(narrowed, opening + 1):
            continue
        outside.append(text[end:opening])
        end = _closing(text, narrowed, opening) + 1
        entries.append(_read_entry(text, narrowed, opening, end - 1))
    rest = " ".join(part.strip() for part in [*outside, text[end:]] if part.strip())
    if ";;;" in rest:
        raise PromptSyntaxError(
            text, text.find(";;;"), "[time: prompt] and index:prompt;;; are mixed; use one of them."
        )
    if rest.strip(_SEPARATORS) or not entries:
        behind = bool(entries) and not "".join(outside).strip(_SEPARATORS)
        start = _start_of_suffix(entries, text, end, length) if behind else 0.0
        entries.append(Entry(end if behind else 0, read_span(start, rest, text, 0), None))
    return without_overlaps(entries, text)


def _start_of_suffix(entries: list[Entry], text: str, position: int, length: VideoLength) -> float:
    """When text behind the last bracket takes over, in seconds; raises PromptSyntaxError where it would get no time."""
    first, *later = sorted(entries, key=lambda entry: entry.span.start)
    if first.span.start > 0 or first.end is not None:
        return 0.0
    if later and later[0].span.start <= length.section_seconds:
        raise PromptSyntaxError(
            text,
            position,
            f"the text behind the last bracket gets no time: the prompt at 0 s holds for a section "
            f"({length.section_seconds:g} s), and the next one starts at {later[0].span.start:g} s; give it a bracket of "
            "its own, or remove it.",
        )
    return length.section_seconds


def _openings(text: str) -> Iterator[int]:
    """Positions of all opening brackets that no backslash escapes."""
    return (mark.start(2) for mark in MARK.finditer(text) if mark[2] in BRACKETS and not is_escaped(mark))


def _closing(text: str, narrowed: str, opening: int) -> int:
    """Position of the bracket that closes an entry; plain ones of its kind inside must come in pairs."""
    own, depth = text[opening], 1
    for mark in MARK.finditer(text, opening + 1):
        if mark[2] == "=>" or is_escaped(mark):
            continue
        if mark[2] in BRACKETS and _TIMED.match(narrowed, mark.end()):
            raise PromptSyntaxError(
                text,
                mark.start(2),
                "an entry begins inside another one; close the "
                f"first with {BRACKETS[own]}, or write \\{mark[2]} for a bracket of the prompt.",
            )
        if mark[2] in (own, BRACKETS[own]):
            depth += 1 if mark[2] == own else -1
        if depth == 0:
            return mark.start(2)
    raise PromptSyntaxError(
        text,
        opening,
        f"this {own} is never closed; add a {BRACKETS[own]} after the prompt, or write \\{own} for a bracket of the "
        "prompt.",
    )


def _read_entry(text: str, narrowed: str, opening: int, closing: int) -> Entry:
    """The entry `[start-end options: body]` between two brackets."""
    colon = narrowed.find(":", opening, closing)
    if colon < 0:
        raise PromptSyntaxError(
            text, opening, "this entry has no colon; write [3s: prompt], or \\[ for a bracket of the prompt."
        )
    header = read_header(text, opening + 1, colon)
    body = text[colon + 1 : closing]
    backslashes = len(body) - len(body.rstrip("\\"))
    raw = body[: len(body) - backslashes // 2]
    return read_entry(header, raw, text, position=opening, body=colon + 1)


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
    landing = f" {span.landing}" if span.landing else ""
    seed = "" if span.section_seed is None else f" #{span.section_seed}"
    shot = " recall" if span.recall else f' keep "{span.keep}"' if span.keep else " cut" * span.cut
    return f"{'!' * span.forced}{blend}{shot}{' sham' * span.sham}{landing}{seed}"


def _format_body(span: PromptSpan) -> str:
    body = " => ".join(escape_marks(part) for part in (span.text, span.state) if part)
    return body + "\\" * (len(body) - len(body.rstrip("\\")))
