"""Contrastive guidance: away from the old prompt, from the past, or from a concept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...context.plan import Section
from ..base import (
    NEGATIVE,
    PASTS,
    POSITIVE,
    AttachmentKey,
    Prediction,
    Step,
    Technique,
    attachment,
    check_range,
    check_window,
    in_window,
)

ANCHORS = ("anchor", "none")


@dataclass(frozen=True, kw_only=True)
class ContrastiveGuidance(Technique):
    """Adds differences of predictions to the guided one, inside a window of progress.

    With v a velocity:

    - v += omega (v(new) - v(old)): away from the prompt before the switch; omega 0 is off. Both predictions see as much of
      the packed past as `past` says. Where they see none of it, what the old scene in the past does to them is no part of
      the difference: it is the direction of the text alone. Where both prompts say the same there is no difference, and
      nothing is predicted for it.
    - v += (history - 1) (v(past) - v(no past)): history guidance (Song et al. 2025, arXiv 2502.06764); below 1 the packed
      past counts less, 1 is off. No past means the start frame alone (`without` anchor) or nothing at all (none).
    - v -= refusal d, with d = v(concept) - v(negative) and its part along e = v(new) - v(negative) removed where it
      points the same way: d -= max(0, <d, e>) / <e, e> e. What the new prompt itself asks for is not refused. refusal 0 or
      no concept is off.

    Predictions of x0 are combined, which is the same: v = (x - x0) / sigma, and the weights of each difference sum to 0.
    Every part costs an evaluation a step; omega two where its predictions do not see the full past, and refusal two, or one
    where real guidance makes the negative one anyway.

    omega: the strength of the contrast to the old prompt; 0 is off.
    history: how much the packed past counts; 1 is off.
    without: what is left of the past in the prediction that history is compared with: anchor or none.
    refusal: the strength against the concept; 0 is off.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    concept: the key of the attached CONDITIONING of what is refused.
    past: how much of the past the two predictions of omega see: full, anchor (the start frame alone) or none.
    """

    omega: float = 1.0
    history: float = 1.0
    without: str = "anchor"
    refusal: float = 0.0
    t_start: float = 1.0
    t_end: float = 0.54
    concept: AttachmentKey = attachment()
    past: str = "full"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("omega", self.omega, 0, 10)
        check_range("history", self.history, 0, 10)
        check_range("refusal", self.refusal, 0, 10)
        for name, options in (("without", ANCHORS), ("past", PASTS)):
            if getattr(self, name) not in options:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(options)}.")
        check_window(self.t_start, self.t_end)

    def texts(self) -> tuple[AttachmentKey, ...]:
        return (self.concept,) if self._refuses else ()

    def predictions(self, section: Section, step: Step) -> tuple[Prediction, ...]:
        if self.amount(section) == 0 or not in_window(step, self.t_start, self.t_end):
            return ()
        wanted: list[Prediction] = []
        if self._contrasts(section):
            wanted += [each for each in (self._new, self._old) if each != POSITIVE]
        if self.history != 1:
            wanted.append(self._no_past)
        if self._refuses:
            wanted += [Prediction(self.concept), NEGATIVE]
        return tuple(wanted)

    def combine(
        self, section: Section, step: Step, x0: Tensor, predictions: Mapping[Prediction, Tensor]
    ) -> Tensor:
        if not self.predictions(section, step):
            return x0
        amount, new = self.amount(section), predictions[POSITIVE]
        if self._contrasts(section):
            x0 = x0 + amount * self.omega * (predictions[self._new] - predictions[self._old])
        if self.history != 1:
            x0 = x0 + amount * (self.history - 1) * (new - predictions[self._no_past])
        if self._refuses:
            unwanted = predictions[Prediction(self.concept)] - predictions[NEGATIVE]
            x0 = x0 - amount * self.refusal * unshared(unwanted, new - predictions[NEGATIVE])
        return x0

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        return {"amount": self.amount(section) if self.predictions(section, step) else 0.0}

    @property
    def _new(self) -> Prediction:
        return Prediction("positive", self.past)

    @property
    def _old(self) -> Prediction:
        return Prediction("previous", self.past)

    @property
    def _no_past(self) -> Prediction:
        return Prediction("positive", self.without)

    @property
    def _refuses(self) -> bool:
        return bool(self.concept) and self.refusal != 0

    def _contrasts(self, section: Section) -> bool:
        return self.omega != 0 and section.text_changed


def unshared(direction: Tensor, wanted: Tensor) -> Tensor:
    """`direction` [B, ...] without its part along `wanted`, video by video, where the two point the same way."""
    axes = tuple(range(1, direction.ndim))
    along = (direction * wanted).sum(dim=axes, keepdim=True).clamp(min=0)
    squared = (wanted * wanted).sum(dim=axes, keepdim=True)
    return direction - along / squared.clamp(min=1e-12) * wanted
