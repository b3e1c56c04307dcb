"""JSON files that people give: read within bounds, and told of in short sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 2**25  # of a JSON file
MOST_CHARACTERS = 300  # of what a library says, or a file holds, in a message
# What code raises that walks through data whose form nobody has checked.
DAMAGED = (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, RecursionError)


def read_json_file(path: Path) -> Any:
    """What a JSON file in UTF-8 holds, with or without a byte-order mark.

    Raises OSError, and ValueError for other files and for those of more than MOST_BYTES.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{size:,} bytes are too many, at most {MOST_BYTES:,} are read")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text in one line of printable characters, cut where it is longer than `most`."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * most])
    line = " ".join(line.split())
    return line if len(line) <= most and len(text) <= 2 * most else f"{line[: most - 3]}..."


def said(error: BaseException) -> str:
    """What an error says, shortened; its type where the message alone would puzzle."""
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
    return shortened(text.strip() or type(error).__name__)
