"""A script of a benchmark as JSON, as MemFlow and NarraStream-Bench write it: `{"prompts": ["a man", "an empty room"]}`.

Every prompt has the same share of the video. Their files hold one script a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from .elements.pieces import Piece, spread_evenly
from .spans import PlacedSpan, PromptSyntaxError, VideoLength

EXAMPLE = '{"prompts": ["a man", "an empty room", "night"]}'

_BEGIN = re.compile(r'\s*\{\s*"prompts"\s*:')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)


def looks_like_script(text: str) -> bool:
    """Whether the text begins with a JSON object whose first key is prompts."""
    return _BEGIN.match(text) is not None


def read_script(text: str, length: VideoLength) -> list[PlacedSpan]:
    """A span for every prompt, each with the same share of the video; other keys of the object say nothing here.

    Raises PromptSyntaxError, also for a second script behind the first.
    """
    _check_object(text)
    begin = _BEGIN.match(text)
    if begin is None:
        raise PromptSyntaxError(text, 0, f"prompts is no first key here; write {EXAMPLE}.")
    start = begin.end() + len(text[begin.end() :]) - len(text[begin.end() :].lstrip())
    prompts, end = _DECODER.raw_decode(text, start)
    if not isinstance(prompts, list) or not prompts or not all(isinstance(part, str) for part in prompts):
        raise PromptSyntaxError(text, start, f"prompts is no list of texts; write {EXAMPLE}.")
    return spread_evenly(_pieces(text, start, end), text, length)


def format_script(prompts: Iterable[str]) -> str:
    """The line of a benchmark's file that holds these prompts."""
    return json.dumps({"prompts": list(prompts)}, ensure_ascii=False)


def _check_object(text: str) -> None:
    """Raises PromptSyntaxError where the text is no single JSON object."""
    start = len(text) - len(text.lstrip())
    try:
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else start
        raise PromptSyntaxError(
            text, position, f"this is no JSON ({error}); write {EXAMPLE} with each text in double quotes."
        ) from error
    if rest := text[end:].strip():
        several = (
            "a file of scripts has one a line, and a video follows one" if rest[0] == "{" else "remove it"
        )
        raise PromptSyntaxError(
            text, end + text[end:].index(rest[0]), f"there is more text behind the script; {several}."
        )


def _pieces(text: str, start: int, end: int) -> list[Piece]:
    """The texts of the list between two positions, each with its own position."""
    return [
        (found.start() + 1, json.loads(found[0], strict=False))
        for found in _STRING.finditer(text, start, end)
    ]
