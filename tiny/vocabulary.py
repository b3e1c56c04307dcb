"""The words that the embedded model has learned, and a warning for prompts with others."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import cache, lru_cache

from .world import tables

logger = logging.getLogger(__name__)

REMEMBERED_TEXTS = 1024  # a text is warned of again only after this many others
_WORD = re.compile(r"[^\W\d_]+")
_FIELD = re.compile(r"\{\w+\}")


@cache
def known_words() -> frozenset[str]:
    """Every word, in lower case, that a prompt of the embedded world can contain."""
    names = [*tables.BACKGROUNDS, *tables.SHAPES, *tables.COLOURS, *tables.VERBS, *tables.EMPTY_ARTICLES]
    templates = [
        _FIELD.sub("", text) for text in (*tables.SENTENCES, *tables.PAIR_SENTENCES, *tables.EMPTY_SENTENCES)
    ]
    choices = [
        text
        for table in (tables.PLACES, tables.TIMES, tables.SIZE_WORDS, tables.WAYS, tables.ACTIONS)
        for texts in table.values()
        for text in texts
    ]
    # "a" stands before every subject, see world/prompts.py.
    return frozenset(_words(["a", *names, *templates, *choices]))


def unknown_words(text: str) -> list[str]:
    """The words of a text that the embedded model has never seen, each once, in the order of the text."""
    return [word for word in dict.fromkeys(_words([text])) if word not in known_words()]


@lru_cache(maxsize=REMEMBERED_TEXTS)
def warn_of_unknown_words(text: str) -> None:
    """Logs a warning that names a text's unknown words and what the embedded model can show, once for each text."""
    unknown = unknown_words(text)
    if unknown:
        logger.warning(
            "The embedded model does not know %s in the prompt %r: what it draws or scores for it is something else. It "
            "knows the places %s, by day or at night; the shapes %s; in %s; small or large.",
            " or ".join(map(repr, unknown)),
            text,
            _listed(tables.BACKGROUNDS),
            _listed(tables.SHAPES),
            _listed(tables.COLOURS),
        )


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in _WORD.findall(text.lower())]


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"
