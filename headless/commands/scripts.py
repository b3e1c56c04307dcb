"""Files of scripts, one JSON object a line, and which line of one is meant: `scripts.jsonl#3` is the third."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ...nodes.files.reading import MOST_BYTES

SUFFIX = ".jsonl"

_LINE = re.compile(rf"(.+{re.escape(SUFFIX)})#([0-9]{{1,9}})", re.DOTALL)


class ScriptFile(NamedTuple):
    """The name of a file, and which of its scripts is meant, counted from 1; None where no number was given."""

    name: str
    number: int | None


def script_file(given: str) -> ScriptFile:
    """What a user has written, with the number of a script taken off."""
    match = _LINE.fullmatch(given)
    return ScriptFile(given, None) if match is None else ScriptFile(match[1], int(match[2]))


def text_of(path: Path, what: str) -> str:
    """What a file says; `what` calls it in errors. Raises ValueError for a large one, and for one that is no text."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"the {what} {path.name} has more than {MOST_BYTES:,} bytes")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the {what} {path.name} is no text in UTF-8") from error


def scripts_of(given: str) -> list[tuple[int, str]]:
    """The scripts of a file with their numbers, or the one whose number was given; raises ValueError and FileNotFoundError."""
    name, number = script_file(given)
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"the file of scripts {name} does not exist")
    text = text_of(path, "file of scripts")
    if number is not None:
        return [(number, script_of(text, number, path.name))]
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path.name} holds no script")
    return list(enumerate(lines, 1))


def script_of(text: str, number: int | None, name: str) -> str:
    """One script of a file's text; raises ValueError where it is not clear which, or where there is none of this number."""
    lines = [line for line in text.splitlines() if line.strip()]
    if number is None and len(lines) > 1:
        raise ValueError(f"{name} holds {len(lines)} scripts: name one by its number, such as {name}#1")
    if not lines or (number is not None and not 1 <= number <= len(lines)):
        held = f"{len(lines)} scripts, counted from 1" if lines else "no script"
        raise ValueError(f"{name} holds {held}{'' if number is None else f', not number {number}'}")
    return lines[(number or 1) - 1]
