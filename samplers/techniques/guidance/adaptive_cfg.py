"""Adaptive CFG: guidance that changes over the steps of a section."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log

from ...context.plan import Section
from ...guidance import Guidance
from ..base import EDGE, Step, Technique, check_range, check_window, in_window

TARGETS = ("distilled", "real", "both")
SHAPES = ("interval", "high_early", "low_early", "low_early_t", "beta_curve")


@dataclass(frozen=True, kw_only=True)
class AdaptiveCFG(Technique):
    """Guidance over the noise level, for the scale built into the model, real classifier-free guidance, or both.

    - low_early (the founding form): minimum + (base - minimum)(1 - beta sigma); base 10, minimum 1, beta 0.7 give
      3.7, 6.85 and 10 at sigma 1, 0.5 and 0.
    - low_early_t: base (1 - beta t), the founding documents' second form.
    - high_early: minimum + (base - minimum)(1 - beta (1 - sigma)), strong text while the picture is being composed.
    - interval: base inside the window, the sampler's own scale outside (limited-interval guidance, Kynkaanniemi et
      al. 2024, arXiv 2404.07724).

    - beta_curve: minimum + (base - minimum)(1 - beta (1 - B)), B the density of a beta distribution over t with its peak,
      of height 1, at `peak`, the narrower the larger `concentration` (beta-CFG, Malarz et al. 2025, arXiv 2502.10574).

    Outside the window of t every shape keeps the sampler's own scale. base 0 stands for the sampler's own scale, so
    base 0 with beta 0 is off. Scales and rescale go as far as the change of the switch does. cfg_zero projects the
    unconditional prediction, which any change does in full, and steps at t above 1 - zero_init predict
    zero velocity: x stays as it is and nothing is evaluated (CFG-Zero*, Fan et al. 2025, arXiv 2503.18886; there for the
    first 4 % of the steps). zero_init acts whatever window and target are.

    target: which scale is changed: real, distilled or both.
    shape: one of the above.
    base: the scale at its strongest; 0 for the sampler's own.
    minimum: the scale at its weakest.
    beta: how far a shape goes from base towards minimum, 0 to 1.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    cfg_zero: whether the negative prediction is projected on the positive one first.
    rescale: how far the guided prediction is brought back to the positive one's contrast, 0 to 1.
    zero_init: the share of progress at the beginning in which nothing moves.
    peak: the t at which beta_curve is at base.
    concentration: how narrow beta_curve is.
    """

    target: str = "real"
    shape: str = "interval"
    base: float = 5.0
    minimum: float = 1.0
    beta: float = 0.7
    t_start: float = 1.0
    t_end: float = 0.54
    cfg_zero: bool = False
    rescale: float = 0.0
    zero_init: float = 0.0
    peak: float = 0.75
    concentration: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target not in TARGETS:
            raise ValueError(f"target is {self.target!r}; choose one of {', '.join(TARGETS)}.")
        if self.shape not in SHAPES:
            raise ValueError(f"shape is {self.shape!r}; choose one of {', '.join(SHAPES)}.")
        check_range("beta", self.beta, 0, 1)
        check_range("rescale", self.rescale, 0, 1)
        check_range("base", self.base, 0, 100)
        check_range("minimum", self.minimum, 0, 100)
        check_range("zero_init", self.zero_init, 0, 0.5)
        check_range("peak", self.peak, 0, 1)
        check_range("concentration", self.concentration, 0, 1000)
        check_window(self.t_start, self.t_end)

    def guidance(self, section: Section, step: Step, guidance: Guidance) -> Guidance:
        amount = self.amount(section)
        changed = guidance
        if amount and in_window(step, self.t_start, self.t_end):
            changed = self._scaled(step, guidance, amount)
        # t comes from a float32 sigma: 1 of 25 steps must not be 2 because 0.96 is 0.96 and a bit.
        if self.zero_init and step.t > 1 - amount * self.zero_init + EDGE:
            changed = replace(changed, zero_velocity=True)
        return guidance if changed == guidance else changed

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        return {}

    def _scaled(self, step: Step, guidance: Guidance, amount: float) -> Guidance:
        """The scales inside the window."""
        if self.target != "real":
            guidance = replace(guidance, distilled=self._scale(step, guidance.distilled, amount))
        if self.target != "distilled":
            guidance = replace(
                guidance,
                cfg=self._scale(step, guidance.cfg, amount),
                zero_star=guidance.zero_star or self.cfg_zero,
                rescale=max(guidance.rescale, amount * self.rescale),
            )
        return guidance

    def _scale(self, step: Step, own: float, amount: float) -> float:
        """The scale at a step, moved from the sampler's own by `amount`."""
        base = self.base or own
        minimum = min(self.minimum, base)
        shaped = {
            "interval": base,
            "low_early": minimum + (base - minimum) * (1 - self.beta * step.sigma),
            "low_early_t": base * (1 - self.beta * step.t),
            "high_early": minimum + (base - minimum) * (1 - self.beta * (1 - step.sigma)),
            "beta_curve": minimum + (base - minimum) * (1 - self.beta * (1 - self._bell(step.t))),
        }[self.shape]
        return shaped if amount == 1 else own + amount * (shaped - own)

    def _bell(self, t: float) -> float:
        """t^a (1 - t)^b over its value at the peak a / (a + b), with a + b the concentration."""
        height = 0.0
        for share, top in ((t, self.peak), (1 - t, 1 - self.peak)):
            if top > 0 and self.concentration > 0:
                if share <= 0:
                    return 0.0
                height += self.concentration * top * (log(share) - log(top))
        return exp(height)
