"""The step cache of one section: which steps are computed, and what the others take from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ....models.caching.step_cache import BlockCache
from ...techniques.base import NEGATIVE, POSITIVE, Prediction
from ...techniques.schedule.step_cache import StepCache
from .criteria import criterion_of, magnitude_ratio
from .slopes import Slope, nearest_slope, no_slope

# Gives a signal of the step (see models/caching/step_cache.py) for the positive prediction.
Ask = Callable[[str], Tensor]
# How far a noise level of a solver may lie below that of the step that it belongs to.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One evaluation of all predictions of a step.

    step: its number.
    predictions: in the order of their numbers for the model, the last one perhaps evaluated for another node alone.
    reusable: whether the criterion lets it be reused.
    blocks: what the model is told; None where nothing is reused in the whole section.
    """

    step: int
    predictions: tuple[Prediction, ...]
    reusable: bool
    blocks: BlockCache | None

    @property
    def is_computed(self) -> bool:
        """Whether the blocks run."""
        return self.blocks is None or not self.blocks.residuals


class SectionCache:
    """Decides for every evaluation of a section and keeps the residuals of its predictions, two of each.

    settings: the step cache.
    sigmas: the section's schedule [steps + 1].
    restarts: the steps at which settings jump; nothing from before is used from there on.
    slope: how residuals go on; None to compute every step and record how they do.
    reuses: whether steps may be reused at all.
    """

    def __init__(
        self,
        settings: StepCache,
        *,
        sigmas: Tensor,
        restarts: Collection[int],
        slope: Slope | None,
        reuses: bool,
    ) -> None:
        self._levels: list[float] = sigmas[:-1].tolist()
        steps = len(self._levels)
        early = range(max(1, int(settings.first * steps)))
        self._always = {*early, steps - 1, *restarts, *(step + 1 for step in restarts)}
        self._settings = settings
        self._restarts = restarts
        self._slope = slope or no_slope
        self._slopes: list[tuple[int, int, int, float]] = []
        self._records = slope is None
        self._asks = reuses
        self._reuses = reuses and not self._records
        self._criterion = criterion_of(settings, steps)
        self._run = 0
        self._kept: dict[Prediction, list[tuple[int, Tensor]]] = {}
        # The step of every evaluation, and whether that was reused.
        self._evaluations: list[tuple[int, bool]] = []
        self._magnitudes: list[float] = []

    def begin(self, sigma: float, predictions: Sequence[Prediction], ask: Ask) -> Evaluation:
        """Decide whether an evaluation is computed. `ask` is called for what the criterion must know."""
        step = max(i for i, level in enumerate(self._levels) if level >= sigma - ROUNDING)
        if step in self._restarts:
            self._kept.clear()
        reusable = self._asks and self._is_reusable(step, predictions, ask)
        # A host numbers the negative prediction last where only other nodes ask for it.
        named = (*predictions, NEGATIVE) if NEGATIVE not in predictions else tuple(predictions)
        residuals = self._estimates(named, step) if reusable and self._reuses else {}
        self._evaluations.append((step, bool(residuals)))
        return Evaluation(step, named, reusable, BlockCache(residuals) if self._asks else None)

    def end(self, evaluation: Evaluation) -> None:
        """Take what an evaluation has computed."""
        computed = {} if evaluation.blocks is None else evaluation.blocks.computed
        for number, prediction in enumerate(evaluation.predictions):
            residual = computed.get(number)
            if residual is None:
                continue
            kept = self._kept.get(prediction, [])
            if prediction == POSITIVE:
                self._measure(kept, evaluation, residual)
            if not evaluation.reusable:
                self._kept[prediction] = [*kept[-1:], (evaluation.step, residual)]

    def describe(self) -> dict[str, Any]:
        """How many evaluations of steps were computed and reused, and the numbers of the steps reused, for the trace.

        Mode measure adds the `magnitudes` of every step after the first, and a section that records them its `slopes`.
        """
        reused = [step for step, is_reused in self._evaluations if is_reused]
        return {
            "computed": len(self._evaluations) - len(reused),
            "reused": len(reused),
            "reused_steps": list(dict.fromkeys(reused)),
            **({"magnitudes": self._magnitudes} if self._magnitudes else {}),
            **({"slopes": self._slopes} if self._slopes else {}),
        }

    def _is_reusable(self, step: int, predictions: Sequence[Prediction], ask: Ask) -> bool:
        criterion, bound = self._criterion, self._settings.longest_run
        cost = criterion.cost(step, None if criterion.signal is None else ask(criterion.signal))
        reusable = (
            cost <= self._settings.threshold
            and step not in self._always
            and not (bound and self._run >= bound)
            and all(prediction in self._kept for prediction in predictions)
        )
        self._run = self._run + 1 if reusable else 0
        if not reusable:
            criterion.computed()
        return reusable

    def _estimates(self, predictions: Sequence[Prediction], step: int) -> dict[int, Tensor]:
        """The residuals of those predictions that were computed before, by number."""
        kept = ((number, self._kept.get(prediction)) for number, prediction in enumerate(predictions))
        return {number: self._estimate(residuals, step) for number, residuals in kept if residuals}

    def _estimate(self, kept: Sequence[tuple[int, Tensor]], step: int) -> Tensor:
        *earlier, (b, latest) = kept
        if not earlier or earlier[0][0] == b:
            return latest
        ((a, before),) = earlier
        slope = self._slope(a, b, step)
        return latest if slope == 0 else latest + slope * (latest - before)

    def _measure(self, kept: Sequence[tuple[int, Tensor]], evaluation: Evaluation, residual: Tensor) -> None:
        """Learn from a computed step what is wanted of it: its magnitude, or the slope of one that could have been reused."""
        if self._settings.mode == "measure" and kept:
            self._magnitudes.append(magnitude_ratio(residual, kept[-1][1]))
        if self._records and evaluation.reusable and len(kept) == 2:
            (a, before), (b, latest) = kept
            self._slopes.append((a, b, evaluation.step, nearest_slope(before, latest, residual)))
