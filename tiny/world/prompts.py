"""Prompts in plain English for scenes of the embedded world."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .scenes import Scene, Subject
from .tables import (
    ACTIONS,
    DIRECTIONS,
    EMPTY_ARTICLES,
    EMPTY_SENTENCES,
    PAIR_SENTENCES,
    PLACES,
    SENTENCES,
    SIZE_WORDS,
    TIMES,
    VERBS,
    WAYS,
)


def prompt_of(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """Say a scene in plain English: always the same canonical sentence, or with `rng` one of many."""

    def choose(options: tuple[str, ...]) -> str:
        return options[0] if rng is None else options[rng.integers(len(options))]

    time, article = choose(TIMES[scene.night]), choose(EMPTY_ARTICLES)
    if not scene.shown:
        empty = f"{article} {scene.background}"
        return choose(EMPTY_SENTENCES).format(empty=empty, time=time, background=scene.background)
    subject, action = _described(*scene.shown[0], choose)
    words = {"subject": subject, "action": action}
    if len(scene.shown) > 1:
        words["second"], words["second_action"] = _described(*scene.shown[1], choose)
    place = choose(PLACES[scene.background])
    sentences = SENTENCES if len(scene.shown) == 1 else PAIR_SENTENCES
    return choose(sentences).format(**words, place=place, time=time)


def _described(subject: Subject, motion: str, choose: Callable[[tuple[str, ...]], str]) -> tuple[str, str]:
    """The words for a subject and for what it does."""
    size = choose(SIZE_WORDS[subject.size])
    named = " ".join(word for word in ("a", size, subject.colour, subject.shape) if word)
    if motion in DIRECTIONS:
        return named, f"{choose(VERBS)} {choose(WAYS[motion])}"
    return named, choose(ACTIONS[motion])
