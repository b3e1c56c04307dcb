"""When a step may be reused: each criterion tells what reusing would cost, counted since the latest computed step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import inf
from typing import Protocol

import numpy as np
from torch import Tensor

from ...techniques.schedule.step_cache import StepCache, parse_magnitudes

# TeaCache's polynomial for HunyuanVideo, highest power first, as lllyasviel/FramePack has it.
TEACACHE = (733.226126, -401.131952, 67.5869174, -3.149878, 0.096123790)
# MagCache's ratios for FramePack F1 at 25 steps, of every step after the first (Zehong-Ma/MagCache), and the largest
# deviation of a single ratio from 1 with which a step may be reused.
F1_MAGNITUDES = (
    1.258, 1.086, 1.023, 1.008, 1.023, 1.008, 1.023, 1.055, 0.996, 1.039, 1.008, 1.016, 1.008, 1.023, 1.016, 0.980, 1.055,
    0.980, 0.969, 1.031, 0.973, 0.938, 0.965, 0.785,
)  # fmt: skip
LARGEST_DEVIATION = 0.06


class Criterion(Protocol):
    """What reusing costs."""

    @property
    def signal(self) -> str | None:
        """What it must be told of each step (see models/caching/step_cache.py); None for nothing."""

    def cost(self, step: int, signal: Tensor | None) -> float:
        """What it would cost to reuse a step, by its number in the section."""

    def computed(self) -> None:
        """The step that was asked about last is computed."""


class AccumulatedChange:
    """The relative change of a signal from step to step, each weighed and all since the latest computed step summed."""

    def __init__(self, signal: str, weigh: Callable[[float], float] = float) -> None:
        self.signal = signal
        self._weigh = weigh
        self._previous: Tensor | None = None
        self._total = 0.0

    def cost(self, step: int, signal: Tensor | None) -> float:
        self._total += self._weigh(relative_change(signal, self._previous))
        self._previous = signal
        return self._total

    def computed(self) -> None:
        self._total = 0.0


class ChangeSinceComputed:
    """The relative change of a signal to the latest computed step."""

    def __init__(self, signal: str) -> None:
        self.signal = signal
        self._now: Tensor | None = None
        self._computed: Tensor | None = None

    def cost(self, step: int, signal: Tensor | None) -> float:
        self._now = signal
        return relative_change(signal, self._computed)

    def computed(self) -> None:
        self._computed = self._now


class MagnitudeError:
    """MagCache: the sum of |1 - product of ratios| over the steps since the latest computed one.

    ratios: of every step, the first step's being 1.
    """

    signal = None

    def __init__(self, ratios: Sequence[float]) -> None:
        self._ratios = ratios
        self.computed()

    def cost(self, step: int, signal: Tensor | None) -> float:
        ratio = self._ratios[step]
        self._product *= ratio
        self._total += abs(1 - self._product)
        return self._total if abs(1 - ratio) <= LARGEST_DEVIATION else inf

    def computed(self) -> None:
        self._product, self._total = 1.0, 0.0


class Never:
    """Nothing is reused."""

    signal = None

    def cost(self, step: int, signal: Tensor | None) -> float:
        return inf

    def computed(self) -> None:
        pass


def criterion_of(settings: StepCache, steps: int) -> Criterion:
    """The criterion of a mode, at the beginning of a section of so many steps."""
    if settings.mode == "history":
        return AccumulatedChange("past")
    if settings.mode == "teacache":
        return AccumulatedChange("input", teacache_change)
    if settings.mode == "first_block":
        return ChangeSinceComputed("first_block")
    if settings.mode == "measure":
        return Never()
    return MagnitudeError(resampled(parse_magnitudes(settings.magnitudes) or F1_MAGNITUDES, steps))


def relative_change(now: Tensor | None, before: Tensor | None) -> float:
    """|now - before| / |before| in the L1 norm; infinite where there is nothing to compare with."""
    if now is None or before is None or now.shape != before.shape:
        return inf
    apart, size = (now - before).abs().float().mean(), before.abs().float().mean()
    return float(apart / size)


def magnitude_ratio(residual: Tensor, before: Tensor) -> float:
    """MagCache's ratio of two residuals [B, L, D]: the mean over tokens of the ratio of their lengths."""
    return float((residual.float().norm(dim=-1) / before.float().norm(dim=-1)).mean())


def teacache_change(change: float) -> float:
    """How much the output changes with an input that changes by `change`, as TeaCache estimates it."""
    return reduce(lambda value, coefficient: value * change + coefficient, TEACACHE, 0.0)


def resampled(ratios: Sequence[float], steps: int) -> list[float]:
    """Ratios of all `steps` steps from those of every step after the first, which is 1.

    Between other numbers of steps the residual's size is read off at the same share of the section, its logarithm linear
    between the steps of the table.
    """
    sizes = np.cumsum([0.0, *np.log(ratios)])
    places = np.linspace(0, len(ratios), steps)
    return [1.0, *np.exp(np.diff(np.interp(places, np.arange(len(sizes)), sizes))).tolist()]
