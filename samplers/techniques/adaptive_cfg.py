"""Adaptive CFG: guidance that changes over the steps of a section."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..guidance import Guidance
from ..plan import Section
from .base import Step, Technique, check_range, check_window, in_window

TARGETS = ("distilled", "real", "both")
SHAPES = ("interval", "high_early", "low_early", "low_early_t")


@dataclass(frozen=True)
class AdaptiveCFG(Technique):
    """Guidance over the noise level, for the scale built into the model, real classifier-free guidance, or both.

    - low_early (the founding form): minimum + (base - minimum)(1 - beta sigma); base 10, minimum 1, beta 0.7 give
      3.7, 6.85 and 10 at sigma 1, 0.5 and 0.
    - low_early_t: base (1 - beta t), the founding documents' second form.
    - high_early: minimum + (base - minimum)(1 - beta (1 - sigma)), strong text while the picture is being composed.
    - interval: base inside the window, the sampler's own scale outside (limited-interval guidance, Kynkaanniemi et
      al. 2024, arXiv 2404.07724).

    Outside the window of t every shape keeps the sampler's own scale. base 0 stands for the sampler's own scale, so
    base 0 with beta 0 is off. cfg_zero projects the unconditional prediction (CFG-Zero*, Fan et al. 2025, arXiv 2503.18886).
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
        check_window(self.t_start, self.t_end)

    def guidance(self, section: Section, step: Step, guidance: Guidance) -> Guidance:
        amount = self.amount(section)
        if amount == 0 or not in_window(step, self.t_start, self.t_end):
            return guidance
        if self.target != "real":
            guidance = replace(guidance, distilled=self._scale(step, guidance.distilled, amount))
        if self.target != "distilled":
            guidance = replace(
                guidance,
                cfg=self._scale(step, guidance.cfg, amount),
                zero_star=self.cfg_zero,
                rescale=max(guidance.rescale, self.rescale),
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
        }[self.shape]
        return shaped if amount == 1 else own + amount * (shaped - own)
