"""Scenes of the embedded world: a place by day or by night, with up to two moving subjects."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
    """What is seen; a motion is one of MOTIONS and means nothing without its subject.

    Either of `subject` and `second` may be missing. Where both are there, `subject` lies in front.
    """

    background: str
    night: bool
    subject: Subject | None = None
    motion: str = "still"
    second: Subject | None = field(default=None, kw_only=True)
    second_motion: str = field(default="still", kw_only=True)

    def __post_init__(self) -> None:
        check("background", self.background, BACKGROUNDS)
        check("motion", self.motion, MOTIONS)
        check("motion", self.second_motion, MOTIONS)

    @property
    def slots(self) -> tuple[tuple[Subject | None, str], tuple[Subject | None, str]]:
        """Both places that a subject can take, each with its motion."""
        return (self.subject, self.motion), (self.second, self.second_motion)

    @property
    def shown(self) -> tuple[tuple[Subject, str], ...]:
        """The subjects that are there, each with its motion."""
        return tuple((subject, motion) for subject, motion in self.slots if subject is not None)

    def with_subject(self, slot: int, subject: Subject | None) -> Scene:
        """The scene with another subject, or none, in slot 0 or 1."""
        return replace(self, second=subject) if slot else replace(self, subject=subject)

    def with_motion(self, slot: int, motion: str) -> Scene:
        """The scene with another motion of the subject in slot 0 or 1."""
        return replace(self, second_motion=motion) if slot else replace(self, motion=motion)


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
