"""Scenes of the embedded world: a place by day or by night, with a moving subject or without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .tables import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES, check

EMPTY_SHARE = 0.15


@dataclass(frozen=True)
class Subject:
    """What moves: a key of SHAPES, one of COLOURS and one of SIZES."""

    shape: str
    colour: str
    size: str

    def __post_init__(self) -> None:
        check("shape", self.shape, SHAPES)
        check("colour", self.colour, COLOURS)
        check("size", self.size, SIZES)

    @property
    def pixels(self) -> int:
        """Width in pixels."""
        return SIZES[self.size]


@dataclass(frozen=True)
class Scene:
    """What is seen; `motion` is one of MOTIONS and means nothing without a subject."""

    background: str
    night: bool
    subject: Subject | None = None
    motion: str = "still"

    def __post_init__(self) -> None:
        check("background", self.background, BACKGROUNDS)
        check("motion", self.motion, MOTIONS)


def random_scene(rng: np.random.Generator, empty: bool | None = None, **fixed: Any) -> Scene:
    """Draw a scene; `fixed` may hold background, night, motion, and shape, colour and size or a subject."""
    unknown = fixed.keys() - {"background", "night", "motion", "shape", "colour", "size", "subject"}
    if unknown:
        raise ValueError(
            f"A scene has no {', '.join(sorted(unknown))}: fix background, night, motion, "
            "shape, colour, size or subject."
        )

    def choose(name: str, options: Any) -> Any:
        drawn = list(options)[rng.integers(len(options))]
        return fixed.get(name, drawn)

    drawn = Subject(choose("shape", SHAPES), choose("colour", COLOURS), choose("size", SIZES))
    is_empty = rng.random() < EMPTY_SHARE
    if empty is None:
        empty = is_empty and not fixed.keys() & {"shape", "colour", "size", "subject", "motion"}
    subject = None if empty else fixed.get("subject", drawn)
    return Scene(
        choose("background", BACKGROUNDS),
        bool(choose("night", (False, True))),
        subject,
        choose("motion", MOTIONS),
    )
