"""The results of the study of later prompts on disk: one line of JSON an episode and arm."""

from __future__ import annotations

from dataclasses import dataclass

from ..transition.running.results import Line


@dataclass(frozen=True, kw_only=True)
class LaterResult(Line):
    """A video that was made from its end, sampled under one arm.

    case, seed: the episode.
    arm: the name of the arm.
    earlier: whether most frames of the last third before the switch show the earlier scene.
    later: for each section after it, in time, whether most frames of its last third show the later one.
    jump: px between where the subject was going and where it is at the switch; None where it is not seen there, or not meant to
        go on.
    artefacts: share of the frames of all sections that show something else than a scene of the world.
    evaluations: calls of the model for all sections.
    """

    case: str
    seed: int
    arm: str
    earlier: bool
    later: tuple[bool, ...]
    jump: float | None
    artefacts: float
    evaluations: int

    @property
    def both(self) -> bool:
        """Whether the switch is seen where it was asked for: the earlier scene before it, the later one after it."""
        return self.earlier and self.later[0]
