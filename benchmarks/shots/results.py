"""The results of the study of shots on disk: one line of JSON an episode and arm."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..transition.running.results import Line


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What most frames of a section's last third show.

    subject: one of the first scene's shape and colour.
    size: one that has its size too.
    other: one of the other scene's shape and colour.
    place: the place and the time that are asked for.
    left: the place that was to be left.
    """

    subject: bool
    size: bool
    other: bool
    place: bool
    left: bool


@dataclass(frozen=True, kw_only=True)
class ShotResult(Line):
    """An episode sampled under one arm.

    case, seed: the episode.
    arm: the name of the arm.
    moves: whether the first scene's subject moves.
    valid: whether the first scene was seen at the end of its sections; other episodes are not counted.
    met: whether what the last prompt is to leave was seen before it.
    sections: what the sections of the last prompt show.
    away: px between the subject and where it had stood in the first scene, the median over the last third of the last prompt's first
        section; None where it is not seen there, or is not meant to return.
    evaluations: calls of the model for the sections of the last prompt.
    """

    case: str
    seed: int
    arm: str
    moves: bool
    valid: bool
    met: bool
    sections: tuple[Shown, ...]
    away: float | None
    evaluations: int

    @classmethod
    def from_line(cls, line: str) -> ShotResult:
        """The inverse of `to_line`; raises ValueError, KeyError or TypeError for other text."""
        facts = json.loads(line)
        sections = tuple(Shown(**shown) for shown in facts.pop("sections"))
        return cls(sections=sections, **facts)
