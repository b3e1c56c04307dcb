"""The notations for prompts over time: the one place where each is listed.

A notation that is added here is offered by FramePack Prompt Timeline and recognised in every text; the tests name the
help pages and tables that have to explain it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import bars, brackets, keyframes, lines, scripts, sections, times
from .joining import join_spans
from .lookalikes import refuse_lookalikes
from .spans import PlacedSpan, PromptSpan, PromptSyntaxError, VideoLength

AUTO = "auto"  # the syntax that stands for whichever the text looks like


@dataclass(frozen=True, kw_only=True)
class Syntax:
    """A notation for prompts over time.

    looks_like: whether a text seems to be written in it.
    read: the spans of a text, in any order; raises PromptSyntaxError.
    example: a text in this notation, as the help pages and the tests show it.
    counts_sections: whether what it says depends on how long a section is.
    plain: whether a text without any mark may be meant, so that schedules of other programs have to be refused.
    divides: whether its prompts begin where sections do, which leaves them no frame of their own to land on.
    """

    looks_like: Callable[[str], bool]
    read: Callable[[str, VideoLength], list[PlacedSpan]]
    example: str
    counts_sections: bool = False
    plain: bool = False
    divides: bool = False


# The first one that a text looks like is taken, so the most telling marks come first and lines, which takes any, last.
SYNTAXES = {
    "script": Syntax(looks_like=scripts.looks_like_script, read=scripts.read_script, example=scripts.EXAMPLE),
    "keyframes": Syntax(
        looks_like=keyframes.looks_like_keyframes, read=keyframes.read_keyframes, example=keyframes.EXAMPLE
    ),
    "brackets": Syntax(
        looks_like=brackets.looks_like_brackets,
        read=brackets.read_brackets,
        example=brackets.EXAMPLE,
        counts_sections=True,
    ),
    "sections": Syntax(
        looks_like=sections.looks_like_sections,
        read=sections.read_sections,
        example=sections.EXAMPLE,
        counts_sections=True,
        divides=True,
    ),
    "times": Syntax(looks_like=times.looks_like_times, read=times.read_times, example=times.EXAMPLE),
    "bars": Syntax(
        looks_like=bars.looks_like_bars, read=bars.read_bars, example=bars.EXAMPLE, plain=True, divides=True
    ),
    "lines": Syntax(
        looks_like=lines.looks_like_lines,
        read=lines.read_lines,
        example=lines.EXAMPLE,
        plain=True,
        divides=True,
    ),
}
SYNTAX_CHOICES = (AUTO, *SYNTAXES)


def parse(
    text: str, syntax: str = AUTO, *, sections: int | None = None, section_seconds: float = 1.2
) -> list[PromptSpan]:
    """The prompts of a text; their starts rise, and the first one is 0 s.

    `sections` of `section_seconds` each are the video's length, which sections, bars and lines divide.
    Raises ValueError for an unknown syntax, and PromptSyntaxError with the position and a remedy for a wrong text.
    """
    if syntax not in SYNTAX_CHOICES:
        raise ValueError(f"syntax is {syntax!r}; choose one of {', '.join(SYNTAX_CHOICES)}.")
    text = _without_byte_order_mark(text)
    if not text.strip():
        raise PromptSyntaxError(text, 0, "the text is empty; write at least one prompt.")
    chosen = syntax_of(text, syntax)
    if syntax == AUTO and chosen.plain:
        refuse_lookalikes(text)
    return join_spans(chosen.read(text, VideoLength(sections, section_seconds)), text)


def syntax_of(text: str, syntax: str = AUTO) -> Syntax:
    """The notation that a text is read in."""
    return SYNTAXES[detect_syntax(text) if syntax == AUTO else syntax]


def detect_syntax(text: str) -> str:
    """The name of the first syntax that the text looks like; one prompt a line where there is no mark."""
    return next(
        name for name, syntax in SYNTAXES.items() if syntax.looks_like(_without_byte_order_mark(text))
    )


def _without_byte_order_mark(text: str) -> str:
    """The text with a blank in place of the mark that some editors put before it."""
    return f" {text[1:]}" if text.startswith("\ufeff") else text
