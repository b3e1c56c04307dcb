"""Prompts in plain English for scenes of the embedded world."""

from __future__ import annotations

import numpy as np

from .scenes import Scene
from .tables import (
    ACTIONS,
    DIRECTIONS,
    EMPTY_ARTICLES,
    EMPTY_SENTENCES,
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
    if scene.subject is None:
        empty = f"{article} {scene.background}"
        return choose(EMPTY_SENTENCES).format(empty=empty, time=time, background=scene.background)
    size = choose(SIZE_WORDS[scene.subject.size])
    subject = " ".join(word for word in ("a", size, scene.subject.colour, scene.subject.shape) if word)
    if scene.motion in DIRECTIONS:
        action = f"{choose(VERBS)} {choose(WAYS[scene.motion])}"
    else:
        action = choose(ACTIONS[scene.motion])
    place = choose(PLACES[scene.background])
    return choose(SENTENCES).format(subject=subject, action=action, place=place, time=time)
