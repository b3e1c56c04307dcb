"""Scenes with two subjects: how they differ, and where each of them has room.

The picture is divided between the two, into halves above each other or side by side, and each moves along its own half. In
64 px two small subjects have 8 px between and around them; a large and a small one together are as wide as the picture and
overlap by up to 6 px. Two large ones would hide each other and do not occur.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .motion import MARGIN, Mover
from .scenes import Scene, Subject
from .tables import ALONG, COLOURS, MOTIONS, SHAPES, SIZE, SIZES

BORDER = 1.0  # px, at least, between a subject and the picture's border across its way
WIDEST_BORDER = (3.0, 4.0)  # px, at most: with a large subject, and with two small ones

Movers = tuple[Mover, Mover]


def with_second(
    rng: np.random.Generator, scene: Scene, second: Subject | None = None, second_motion: str | None = None
) -> Scene:
    """A scene with one subject and a second one beside it, that given or one drawn with another shape and another colour.

    So a shape or a colour alone names one of the two. Raises ValueError for a pair that has no room, that looks alike, or
    that would move across each other's way.
    """
    if scene.subject is None:
        raise ValueError("A pair needs a first subject: do not ask for an empty scene.")
    first = scene.subject
    drawn = Subject(
        _choose(rng, [shape for shape in SHAPES if shape != first.shape]),
        _choose(rng, [colour for colour in COLOURS if colour != first.colour]),
        _choose(rng, ["small", "small" if first.size == "large" else "large"]),
    )
    allowed = ("still", *motions_beside(scene.motion))
    motion = _choose(rng, list(allowed))
    pair = replace(scene, second=second or drawn, second_motion=second_motion or motion)
    _check(pair, allowed)
    return pair


def motions_beside(motion: str) -> tuple[str, ...]:
    """The motions, beside standing still, that a second subject can have while the first one moves as said."""
    along = [motions for motions in ALONG if motion in motions]
    return along[0] if along else MOTIONS[1:]


def start_pair(rng: np.random.Generator, scene: Scene) -> Movers:
    """Place the two subjects of a scene, each in its half of the picture."""
    axis = _axis(rng, scene)
    pixels = [subject.pixels for subject, _ in scene.shown]
    border = WIDEST_BORDER[max(pixels) == SIZES["small"]]
    near, far = (rng.uniform(BORDER, border) for _ in range(2))
    places = [pixels[0] / 2 + near, SIZE - pixels[1] / 2 - far]
    if rng.integers(2):
        places = [SIZE - place for place in places]
    starts = []
    for (subject, motion), across in zip(scene.shown, places):
        half = subject.pixels / 2 + MARGIN
        low, high = np.full(2, across), np.full(2, across)
        low[axis], high[axis] = half, SIZE - half
        starts.append(_along(Mover.start_in(rng, motion, low, high), axis))
    return starts[0], starts[1]


def _along(mover: Mover, axis: int) -> Mover:
    """A mover that turns to motions along one axis only, 0 for x and 1 for y."""
    return replace(mover, motions=("still", *ALONG[axis]))


def _axis(rng: np.random.Generator, scene: Scene) -> int:
    drawn = int(rng.integers(2))
    moving = [axis for axis, motions in enumerate(ALONG) if {m for _, m in scene.shown} & set(motions)]
    return moving[0] if moving else drawn


def _check(pair: Scene, allowed: tuple[str, ...]) -> None:
    first, second = (subject for subject, _ in pair.shown)
    if first.shape == second.shape or first.colour == second.colour:
        raise ValueError(
            f"Two subjects differ in shape and in colour, but these are a {first.colour} {first.shape} and a "
            f"{second.colour} {second.shape}."
        )
    if first.size == second.size == "large":
        raise ValueError("Two large subjects would hide each other: make one of them small.")
    if pair.second_motion not in allowed:
        raise ValueError(
            f"A subject that moves {pair.second_motion} would cross the way of one that moves {pair.motion}: take "
            f"one of {', '.join(allowed)}."
        )


def _choose(rng: np.random.Generator, options: list[Any]) -> Any:
    return options[rng.integers(len(options))]
