"""The results of the study of drift on disk: one line of JSON a video and arm."""

from __future__ import annotations

from dataclasses import dataclass

from ..transition.running.results import Line


@dataclass(frozen=True, kw_only=True)
class DriftResult(Line):
    """A video of one scene and a switch at its end, sampled under one arm.

    seed: the episode.
    arm: the name of the arm.
    saturation: of each section before the switch, the mean of the largest less the smallest channel, 0..1.
    brightness: of each section before the switch, the mean luma, 0..1.
    kept: whether most frames of the last third of the section before the switch show the scene of the prompt.
    switched: whether most frames of the last third of the section after it show the new one.
    evaluations: calls of the model.
    """

    seed: int
    arm: str
    saturation: tuple[float, ...]
    brightness: tuple[float, ...]
    kept: bool
    switched: bool
    evaluations: int
