r"""The marks that all notations share: `=>` before a state text, and a backslash before a bracket or => in plain text."""

from __future__ import annotations

import re

from ..spans import PromptSpan, PromptSyntaxError

# Backslashes count only right before a mark: two stand for one, and an odd one makes the mark plain text.
MARK = re.compile(r"(?<!\\)(\\*)([\[\]［］【】]|=>)")  # full-width brackets are meant
BRACKETS = {"[": "]", "［": "］", "【": "】"}  # each with the one that closes it


def is_escaped(mark: re.Match[str]) -> bool:
    """Whether a match of MARK is plain text because of a backslash before it."""
    return len(mark[1]) % 2 == 1


def read_span(start: float, raw: str, text: str, position: int) -> PromptSpan:
    """The span of `prompt` or `prompt => state`, with the backslashes before marks resolved.

    `raw` lies at `position` of `text`. Raises PromptSyntaxError for a missing prompt and for a second state text.
    """
    prompt, *states = _parts(raw)
    if not prompt:
        raise PromptSyntaxError(text, position, "a prompt is missing here; write one, or remove the part.")
    if len(states) > 1 or "" in states:
        raise PromptSyntaxError(
            text,
            position,
            "after the prompt one => and one state text may follow; write \\=> for an arrow of the prompt.",
        )
    return PromptSpan(start, prompt, *states)


def _parts(raw: str) -> list[str]:
    """The texts between the arrows that no backslash escapes."""
    parts, end = [""], 0
    for mark in MARK.finditer(raw):
        parts[-1] += raw[end : mark.start()] + "\\" * (len(mark[1]) // 2)
        end = mark.end()
        if mark[2] == "=>" and not is_escaped(mark):
            parts.append("")
        else:
            parts[-1] += mark[2]
    parts[-1] += raw[end:]
    return [part.strip() for part in parts]


def escape_marks(plain: str) -> str:
    """The text with a backslash before each mark in it, so that it is read back as plain text."""
    return MARK.sub(r"\1\1\\\2", plain)
