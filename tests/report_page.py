"""The keys of report.json as docs/REPORT.md lists them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import framepack_transitions

DOCS = Path(framepack_transitions.__file__).resolve().parent / "docs"
PAGES = {"en": DOCS / "REPORT.md", "ja": DOCS / "ja" / "REPORT.md"}
COMMANDS = ("demo", "run", "evaluate", "study", "suite", "reliability", "sweep")
_ROW = re.compile(r"\| `(?P<key>\w+)` \| (?P<commands>[^|]+) \| [^|]+ \|")


def keys(page: Path, command: str) -> dict[str, bool]:
    """The keys that a command writes, and whether it always does: a condition follows its name in brackets."""
    found = {}
    for row in _ROW.finditer(page.read_text(encoding="utf-8")):
        for name, condition in re.findall(r"(\w+)(?: \(([^)]+)\))?", row["commands"]):
            if name in ("all", command):
                found[row["key"]] = not condition
    return found


def check(report: dict[str, Any], command: str) -> None:
    """Holds a written report against the pages of both languages."""
    for page in PAGES.values():
        documented = keys(page, command)
        assert report.keys() <= documented.keys(), page
        assert {key for key, always in documented.items() if always} <= report.keys(), page
