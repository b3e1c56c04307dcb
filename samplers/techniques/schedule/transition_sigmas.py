"""Transition sigmas: noise levels of a section of their own, with more of them where a change is decided."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

import numpy as np
import torch
from numpy.typing import NDArray

from ...context.plan import Section
from ...sigmas import shift_sigma
from ..base import Schedule, Step, Technique, check_range

MODES = ("shift", "founding", "boost")
# Below MIN_SHIFT nearly all steps would have next to no noise, and in float32 some no less than their neighbours.
MIN_SHIFT, MAX_SHIFT, MAX_CROWDING = 0.01, 100.0, 10.0
GRID = 4096  # intervals of t on which step density is summed up


@dataclass(frozen=True, kw_only=True)
class TransitionSigmas(Technique):
    """A section's sigma = s t / (1 + (s - 1) t) with a shift s of its own, over progress t with steps as dense as asked.

    - shift: s moves from the sampler's own to `shift` (0: stays; else at least MIN_SHIFT), as far as the switch's change goes, in mu = ln s.
    - founding: mu = mu_base + `delta`, with mu_base the sampler's. At the 13B model's usual sizes mu_base is clamped to
      ln 7 = 1.95, so the founding documents' delta of 0.85 means a shift of 16.4, and a mu of 2.0 in place of it next to nothing.
    - boost: s stays, and steps lie up to 1 + `boost` times as dense around `points` of t, within about `width`. The
      founding form multiplied sigmas there, which gave several of 1; staying there longer is what it was after.

    In every mode steps lie `early` times as dense at t 1 as at t 0, in a straight line between, and `extra_steps` are
    added. A shift, early or boost that changes nothing and no extra steps leave the schedule as it is.

    mode: one of the above.
    shift: the section's shift, for mode shift; 0 for the sampler's own.
    delta: what is added to mu, for mode founding.
    boost: how much denser steps lie around `points`, for mode boost; 0 is off.
    points: places in progress t, such as "0.9, 0.5".
    width: how far around a point steps are denser, in t.
    early: how many times as dense steps lie at t 1 as at t 0.
    extra_steps: steps that are added to the sampler's.
    """

    mode: str = "shift"
    shift: float = 12.0
    delta: float = 0.85
    boost: float = 1.0
    points: str = "0.9"
    width: float = 0.1
    early: float = 1.0
    extra_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; choose one of {', '.join(MODES)}.")
        check_range("shift", self.shift, 0, MAX_SHIFT)
        if 0 < self.shift < MIN_SHIFT:
            raise ValueError(
                f"shift is {self.shift}; give 0 (keeps the sampler's) or a value from {MIN_SHIFT:g} to {MAX_SHIFT:g}."
            )
        check_range("delta", self.delta, -3, 3)
        check_range("boost", self.boost, 0, MAX_CROWDING)
        check_range("width", self.width, 0.01, 1)
        check_range("early", self.early, 1 / MAX_CROWDING, MAX_CROWDING)
        check_range("extra_steps", self.extra_steps, 0, 100)
        parse_points(self.points)

    def schedule(self, section: Section, schedule: Schedule) -> Schedule:
        amount = self.amount(section)
        shift = self._shift(schedule.shift, amount)
        early = 1 + amount * (self.early - 1)
        boost = amount * self.boost if self.mode == "boost" and parse_points(self.points) else 0.0
        extra = round(amount * self.extra_steps)
        if (shift, early, boost, extra) == (schedule.shift, 1, 0, 0):
            return schedule
        if schedule.is_replaced:
            raise ValueError("two Transition Sigmas act on the same section; keep one of them.")
        if not 0 < shift <= MAX_SHIFT and self.mode != "founding":
            raise ValueError(
                f"the sampler's shift is {schedule.shift:.3g}; lower it to at most {MAX_SHIFT:g}, or take the node out."
            )
        if not 0 < shift <= MAX_SHIFT:
            raise ValueError(
                f"a delta of {self.delta:g} makes the shift {schedule.shift:.3g} into {shift:.3g}; lower it, so that at most "
                f"{MAX_SHIFT:g} comes out."
            )
        count = len(schedule.sigmas) - 1 + extra
        start = schedule.sigmas[0].double()
        progress = torch.from_numpy(self._progress(count, early, boost))
        sigmas = (start * shift_sigma(progress, shift)).float()
        return Schedule(sigmas, shift, is_replaced=True)

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        return {}

    def _shift(self, own: float, amount: float) -> float:
        """The shift of a section, moved from the sampler's own by `amount`."""
        if self.mode == "founding":
            return own if amount * self.delta == 0 else exp(log(own) + amount * self.delta)
        if self.mode == "boost" or self.shift == 0 or amount == 0:
            return own
        return self.shift if amount == 1 else exp((1 - amount) * log(own) + amount * log(self.shift))

    def _progress(self, count: int, early: float, boost: float) -> NDArray[np.float64]:
        """t of every step [count + 1] from 1 to 0, float64: equal shares of the step density lie between neighbours."""
        if early == 1 and boost == 0:
            return np.linspace(1, 0, count + 1)
        t = np.linspace(0, 1, GRID + 1)
        density = 1 + (early - 1) * t
        if boost:
            distance = np.min([np.abs(t - point) for point in parse_points(self.points)], axis=0)
            density *= 1 + boost * np.exp(-0.5 * (distance / self.width) ** 2)
        shares = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
        return np.interp(np.linspace(1, 0, count + 1), shares / shares[-1], t)


def parse_points(text: str) -> tuple[float, ...]:
    """Points of progress written as "0.9, 0.5" (spaces and semicolons serve too). Raises ValueError for anything else."""
    words = text.replace(",", " ").replace(";", " ").split()
    try:
        points = tuple(float(word) for word in words)
    except ValueError:
        points = (-1.0,)
    if not all(0 <= point <= 1 for point in points):
        raise ValueError(
            f"points is {text!r}; write numbers from 1 (noise) to 0 (clean) with commas, such as 0.9, 0.5."
        )
    return points
