"""What the command line reports as one sentence instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class WorkflowError(Exception):
    """The workflow, its inputs or its run is wrong; `problems` holds one sentence for each finding."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
