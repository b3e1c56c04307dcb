"""Text in a fixed font: columns, padding and shortening."""

from __future__ import annotations

import unicodedata


def one_line(text: str, limit: int) -> str:
    """`text` in one line of at most `limit` columns, with an ellipsis where something is left out."""
    text = " ".join(text.split())
    if columns(text) <= limit:
        return text
    while text and columns(text) > limit - 3:
        text = text[:-1]
    return text.rstrip() + "..."


def padded(text: str, width: int) -> str:
    """`text` with spaces up to `width` columns."""
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """Columns that a text takes in a fixed font; Chinese and Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
