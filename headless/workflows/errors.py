"""What the command line reports as one sentence instead of a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...nodes.files.reading import shortened

MOST_PROBLEMS, MOST_CHARACTERS = 20, 600  # of each


def as_sentences(text: str) -> list[str]:
    """Each line of a text as a sentence: with a capital, unless it begins with a name, and a full stop."""
    lines = [" ".join(line.split()).rstrip(".") for line in text.splitlines() if line.strip()]
    return [f"{_capitalised(line)}." for line in lines]


def _capitalised(line: str) -> str:
    """File names, which hold a dot, a slash or the like, are left as they are."""
    first, _, rest = line.partition(" ")
    return f"{first.capitalize()} {rest}".rstrip() if re.fullmatch("[a-z]+", first) else line


class WorkflowError(Exception):
    """The workflow, its inputs or its run is wrong; `problems` holds one sentence for each finding, within bounds."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        found = (problems,) if isinstance(problems, str) else tuple(problems)
        more = () if len(found) <= MOST_PROBLEMS else (f"And {len(found) - MOST_PROBLEMS} more.",)
        self.problems = tuple(shortened(problem, MOST_CHARACTERS) for problem in found[:MOST_PROBLEMS]) + more
        super().__init__("\n".join(self.problems))
