"""The results of the study of landing on disk: one line of JSON an episode and arm."""

from __future__ import annotations

from dataclasses import dataclass

from ..transition.running.results import Line


@dataclass(frozen=True, kw_only=True)
class LandingResult(Line):
    """An episode whose switch is asked for inside a section, sampled under one arm.

    case, seed: the episode.
    arm: the name of the arm.
    valid: whether the old scene was seen before that section; other episodes are not counted.
    before: whether most frames from there until the one that was asked for show the old scene.
    after: whether most frames from that one on, over the rest of a section, show the new scene.
    lasting: whether most frames at the end of the video do.
    jump: px between where the subject was going and where it is where the switch lands; None where it is not seen there, or not
        meant to go on.
    artefacts: share of the frames of one section, from its border on, that show something else than a scene of the world.
    evaluations: calls of the model for the two sections' worth of frames that are sampled.
    """

    case: str
    seed: int
    arm: str
    valid: bool
    before: bool
    after: bool
    lasting: bool
    jump: float | None
    artefacts: float
    evaluations: int

    @property
    def both(self) -> bool:
        """Whether the switch has come when it was asked for: the old scene until then, the new one from then on."""
        return self.before and self.after
