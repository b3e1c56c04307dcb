"""One evaluation of the model, as the denoiser asks for it and drivers make it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ....models.attention.concept_probe import ConceptProbe
from ....models.attention.policy import AttentionPolicy
from ....models.attention.probe import Probe
from ....models.caching.step_cache import BlockCache, Signal
from ...context.history import Context


@dataclass(frozen=True, eq=False, kw_only=True)
class Branch:
    """One evaluation of the model.

    text: the name of its conditioning.
    context: the packed past that it sees.
    distilled: the distilled guidance.
    attention: how it attends to the past; None leaves the model's attention untouched.
    attention_rows: how many query rows attend at a time; None for all.
    probe: measures what it attends to; None measures nothing.
    past: how much of the past that is (see Prediction).
    guided: whether classifier-free guidance combines it, as the positive prediction or the negative one.
    cache: what a step cache has of the step, the same for all of its branches; None without one.
    signal: what the model is to tell of the branch in place of predicting anything; None to predict.
    compared: whether it is predicted to be compared with another one, and moves nothing.
    """

    text: str
    context: Context
    distilled: float
    attention: AttentionPolicy | None = None
    attention_rows: int | None = None
    probe: Probe | ConceptProbe | None = None
    past: str = "full"
    guided: bool = False
    cache: BlockCache | None = None
    signal: Signal | None = None
    compared: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether it is evaluated for what is learnt from it, and its prediction moves nothing."""
        return self.compared or self.signal is not None or isinstance(self.probe, ConceptProbe)


class Evaluate(Protocol):
    """A call of the model: x0 predictions for several branches."""

    def __call__(self, branches: Sequence[Branch], x: Tensor, sigma: Tensor) -> list[Tensor]:
        """x0 predictions [B, 16, T, H, W] in float32, one for each branch; x likewise, sigma [B]."""
