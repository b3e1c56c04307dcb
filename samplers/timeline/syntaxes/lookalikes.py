"""Schedules of other programs that no notation reads: they are refused, for else they would be taken for a plain prompt."""

from __future__ import annotations

import re

from .elements.times import NUMBER, OTHER_UNIT, UNIT, narrow
from .spans import PromptSyntaxError

_TIME = rf"{NUMBER}\s*(?:{UNIT}|{OTHER_UNIT})"
_CHOOSE = "choose the syntax lines if this is a plain prompt."
# What it looks like in the text with narrow digits and marks, and what to write instead.
_LOOKALIKES = (
    (
        re.compile(
            rf"[({{<（「『〔〈《]\s*{_TIME}\s*(?:-\s*(?:{NUMBER}\s*(?:{UNIT}|{OTHER_UNIT})?)?)?\s*:",
            re.IGNORECASE,
        ),
        "a time stands in other brackets than square ones; write [1.2s: prompt], or",
    ),
    (
        re.compile(r"(?<!;);;(?!;)\s*-?[0-9]+\s*(?:-\s*-?[0-9]+\s*)?:"),
        "two semicolons divide nothing; write index:prompt;;;index:prompt with three, or",
    ),
    (
        re.compile(r"\A(?:\s*^[ \t]*[0-9]+\s*(?:-\s*[0-9]+\s*)?:[^\n]*$){2,}\s*\Z", re.MULTILINE),
        "these lines begin with numbers without a unit; write 0s: prompt, 0f: prompt or 0:prompt;;;1:prompt, or",
    ),
    (
        re.compile(rf"\[[^\[\]:\n]*:[^\[\]:\n]*:\s*{NUMBER}\s*\]"),
        "[from:to:when] edits prompts in another program; write both out, such as a cat [3s: a dog], or",
    ),
)


def refuse_lookalikes(text: str) -> None:
    """Raises PromptSyntaxError for a text that holds a schedule in a notation that is not read."""
    narrowed = narrow(text)
    for pattern, advice in _LOOKALIKES:
        if found := pattern.search(narrowed):
            raise PromptSyntaxError(text, found.start(), f"{advice} {_CHOOSE}")
