"""What a step cache keeps over a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from ...context.plan import Section
from ...techniques.base import Technique
from ...techniques.schedule.step_cache import StepCache
from .section import SectionCache
from .slopes import RecordedSlopes, Slope, no_slope, steady_slope


class RunCache:
    """Makes the step cache of every section. Recorded slopes hold for one shot, whose sections look alike.

    settings: the step cache; None for none.
    """

    def __init__(self, settings: StepCache | None) -> None:
        self._settings = settings
        # By the number of the shot.
        self._recorded: dict[int, RecordedSlopes] = {}

    def section(self, section: Section, sigmas: Tensor, restarts: Collection[int]) -> SectionCache | None:
        """The cache of a section with a schedule [steps + 1] and the steps at which its settings jump; None without any."""
        if self._settings is None:
            return None
        return SectionCache(
            self._settings,
            sigmas=sigmas,
            restarts=restarts,
            slope=self._slope(self._settings, section),
            reuses=self._settings.amount(section) > 0,
        )

    def learn(self, section: Section, record: Mapping[str, Any]) -> None:
        """Take the slopes of a section that was finished, in this run or an earlier one, from its record in the trace."""
        if slopes := record.get("cache", {}).get("slopes"):
            self._recorded[section.shot.number] = RecordedSlopes(slopes)

    def _slope(self, settings: StepCache, section: Section) -> Slope | None:
        if settings.correction == "recorded":
            return self._recorded.get(section.shot.number)
        return steady_slope if settings.correction == "steady" else no_slope


def active_step_cache(techniques: Sequence[Technique]) -> StepCache | None:
    """The step cache among techniques; None where there is none. Raises ValueError where there are two."""
    active = [
        technique for technique in techniques if isinstance(technique, StepCache) and technique.threshold > 0
    ]
    if len(active) > 1:
        raise ValueError("two step caches are on the model; keep one FramePack Step Cache.")
    return active[0] if active else None
