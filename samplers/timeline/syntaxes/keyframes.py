"""Prompts by the number of the frame, as JSON: `{"0": "a man", "90": "an empty room"}`; the outer braces may be missing."""

from __future__ import annotations

import json
import re

from .elements.entries import Entry, read_entry, without_overlaps
from .elements.times import read_header
from .spans import PlacedSpan, PromptSyntaxError, VideoLength

EXAMPLE = '{"0": "a man", "90": "an empty room", "180": "night"}'

_STRING = r'"((?:[^"\\]|\\.)*)"'
_PAIR = re.compile(rf"\s*{_STRING}\s*:\s*{_STRING}\s*(,|\}}|$)", re.DOTALL)
_BEGIN = re.compile(r'\s*(?:\{\s*"|\[\s*\{\s*"|"\s*[0-9.]+[^"\n]*"\s*:\s*")')


def looks_like_keyframes(text: str) -> bool:
    """Whether the text begins as JSON does, or with a number in quotes before a colon."""
    return _BEGIN.match(text) is not None


def read_keyframes(text: str, length: VideoLength) -> list[PlacedSpan]:
    """The spans of all keys, which are frames of the video (30 a second) or times with a unit; raises PromptSyntaxError."""
    entries: list[Entry] = []
    position = len(text) - len(text.lstrip())
    position += text.startswith("{", position)
    while text[position:].strip(" \t\r\n}"):
        pair = _PAIR.match(text, position)
        if pair is None:
            raise PromptSyntaxError(
                text,
                position,
                'this is no keyframe; write {"0": "first prompt", "90": "second prompt"} with frame numbers, each text in '
                "double quotes and a comma between two.",
            )
        header = read_header(text, pair.start(1), pair.end(1), unit="f")
        prompt = _unescaped(pair[2], text, pair.start(2))
        entries.append(read_entry(header, prompt, text, position=pair.start(1), body=pair.start(2)))
        position = pair.end()
    if not entries:
        raise PromptSyntaxError(text, 0, "there is no keyframe in this JSON; write at least one prompt.")
    return without_overlaps(entries, text)


def _unescaped(written: str, text: str, position: int) -> str:
    """What a JSON string says."""
    try:
        return str(json.loads(f'"{written}"', strict=False))
    except json.JSONDecodeError as error:
        raise PromptSyntaxError(
            text, position, f"this text is no JSON string ({error.msg}); write \\\\ for a backslash."
        ) from error
