"""Times before a prompt: `3s`, `3s-5.5s`, `1.5秒`, `36f`, with options behind them; digits and marks may be full-width."""

from __future__ import annotations

import re
from math import isfinite
from typing import Any, NamedTuple

from ....context.plan import FPS
from ....section_seeds import LARGEST_SEED
from ..spans import PromptSyntaxError

NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
UNIT = r"(?:s(?:ec(?:ond)?s?)?|f(?:rames?)?)"
# Units of other programs, which are refused instead of being taken for a prompt.
OTHER_UNIT = r"(?:ms|min(?:ute)?s?|m|h|%|分|フレーム|コマ)"

_HEADER = re.compile(
    rf"\s*({NUMBER})\s*({UNIT}?)\s*(?:-\s*(?:({NUMBER})\s*({UNIT}?))?)?(?![0-9.])(.*)",
    re.DOTALL | re.IGNORECASE,
)
# keep and a phrase in quotation marks, of which there are several kinds; without marks that end an entry or its header.
_KEEP = r"keep\s*[\"“”＂「][^\"“”＂「」:\n\[\]［］【】]*[\"“”＂」]"
_OPTION = re.compile(rf"!|[~#]\s*[0-9]+|{_KEEP}|[^\s!~#]+|[~#]")
_MOST_BLEND_DIGITS, _MOST_SEED_DIGITS = 4, 20
# As written, and the field of PromptSpan with its value.
_WORDS: dict[str, tuple[str, Any]] = {
    "!": ("forced", True),
    "cut": ("cut", True),
    "recall": ("recall", True),
    "sham": ("sham", True),
    "border": ("landing", "border"),
    "frame": ("landing", "frame"),
}
# Those that begin with a letter, as a pattern of what may follow a time.
OPTION_WORD = "|".join([*filter(str.isalpha, _WORDS), _KEEP])
_WIDE = "０１２３４５６７８９．：；｜！％＃－−–～〜　ｓｆ秒"  # these are what is looked for
_NARROW = str.maketrans(_WIDE, "0123456789.:;|!%#----- sfs")


class Header(NamedTuple):
    """What stands before the colon of a prompt.

    start: when the prompt takes over, in seconds.
    end: when its time ends, in seconds; None where that is open.
    options: further fields of PromptSpan.
    """

    start: float
    end: float | None
    options: dict[str, Any]


def narrow(text: str) -> str:
    """The text with full-width digits, marks and units as ASCII; every character keeps its place."""
    return text.translate(_NARROW)


def read_header(text: str, begin: int, end: int, *, unit: str = "") -> Header:
    """The time and the options in `text[begin:end]`, for example `3s-5s!`.

    A unit holds for both numbers of a range where only one has it; `unit` (s or f) is that of numbers without any. Frames
    are those of the video, at 30 a second. Raises PromptSyntaxError.
    """
    written = text[begin:end]
    header = narrow(written)
    if header.lstrip().startswith(("-", "+")):
        raise PromptSyntaxError(
            text, begin, f"{written.strip()!r} has a sign; times count from 0 s, write [3s: prompt]."
        )
    match = _HEADER.match(header)
    if match is None or not (match[2] or match[4] or unit):
        raise PromptSyntaxError(
            text,
            begin,
            f"{written.strip()!r} is no time; write seconds with an s, such as [3s: prompt] or [3s-5.5s: prompt], or "
            "frames with an f (and \\[ for a bracket of the prompt).",
        )
    first = _seconds(match[1], match[2] or match[4] or unit)
    last = _seconds(match[3], match[4] or match[2] or unit) if match[3] else None
    _check_times(first, last, text, begin)
    return Header(first, last, _read_options(text, begin + match.start(5), match[5]))


def read_seed(digits: str, text: str, position: int) -> int:
    """The seed of a section; raises PromptSyntaxError for one that is too large."""
    number = digits.strip()
    if len(number) > _MOST_SEED_DIGITS or int(number) > LARGEST_SEED:
        raise PromptSyntaxError(
            text, position, f"the seed {number[:40]} is too large; give one up to {LARGEST_SEED}."
        )
    return int(number)


def _seconds(number: str, unit: str) -> float:
    return float(number) / FPS if unit.lower().startswith("f") else float(number)


def _check_times(start: float, end: float | None, text: str, begin: int) -> None:
    if not isfinite(start) or (end is not None and not isfinite(end)):
        raise PromptSyntaxError(text, begin, "this time is too large for any video.")
    if end is not None and end <= start:
        raise PromptSyntaxError(
            text,
            begin,
            f"this entry ends at {end:g} s but starts at {start:g} s; put the earlier time first.",
        )


def _read_options(text: str, position: int, written: str) -> dict[str, Any]:
    """What stands between the time and the colon, as fields of PromptSpan."""
    options: dict[str, Any] = {}
    for match in _OPTION.finditer(written):
        word = match[0]
        if word in _WORDS:
            name, value = _WORDS[word]
            options[name] = value
        elif word[0] == "~" and 0 < len(word[1:].strip()) <= _MOST_BLEND_DIGITS:
            options["blend"] = int(word[1:])
        elif re.fullmatch(_KEEP, word):
            options["keep"] = _phrase(text, position + match.start(), word)
        elif word[0] == "#" and word[1:]:
            options["section_seed"] = read_seed(word[1:], text, position)
        else:
            raise PromptSyntaxError(
                text,
                position,
                f"{word!r} is no option; after the time only ! (always a switch), ~2 (blended over 2 sections), #77 (the "
                'seed of its first section), cut (a new shot), keep "the man" (a new shot with what is named), recall (back to an earlier scene), sham (a switch that repeats the prompt), frame (on its own '
                "frame) and border (at the nearest section border) may follow.",
            )
    if options.get("recall") and options.get("keep"):
        raise PromptSyntaxError(
            text,
            position,
            "keep goes on from the shot before, and recall from another one; remove one of them.",
        )
    if options.get("recall") or options.get("keep"):
        options["cut"] = True
    if options.get("cut") and (options.get("sham") or options.get("blend")):
        raise PromptSyntaxError(
            text,
            position,
            "a cut, with keep, recall or neither, has nothing to blend with or to repeat; remove these, or ~ and sham.",
        )
    return options


def _phrase(text: str, position: int, word: str) -> str:
    """What stands in the quotation marks of a keep, as it was written; raises PromptSyntaxError where nothing does."""
    written = text[position : position + len(word)]
    phrase = written[len("keep") :].strip()[1:-1].strip()
    if not phrase:
        raise PromptSyntaxError(
            text, position, 'keep names nothing; write what the new shot keeps, such as keep "the man".'
        )
    return phrase
