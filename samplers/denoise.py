"""One section's denoiser: which predictions a step needs, and what becomes of them. Both drivers call it."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Protocol, Sequence

from torch import Tensor

from .conditioning import TextConditioning
from .guidance import Guidance, combine_cfg, rescale_guidance
from .history import Context
from .plan import Section

CombineCFG = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True, eq=False)
class Branch:
    """One evaluation of the model: the name of a text, the packed past it sees, the distilled guidance."""

    text: str
    context: Context
    distilled: float


class Evaluate(Protocol):
    def __call__(self, branches: Sequence[Branch], x: Tensor, sigma: Tensor) -> list[Tensor]:
        """x0 predictions [B, 16, T, H, W] in float32, one for each branch; x likewise, sigma [B]."""


class SectionDenoiser:
    """Predicts x0 for one section; `texts` are the conditionings that its branches name."""

    def __init__(self, section: Section, context: Context, texts: dict[str, TextConditioning],
                 guidance: Guidance) -> None:
        self.section = section
        self.context = context
        self.texts = texts
        self.guidance = guidance
        self.evaluations = 0

    def __call__(self, x: Tensor, sigma: Tensor, evaluate: Evaluate, combine: CombineCFG = combine_cfg) -> Tensor:
        """x0 for x [B, 16, T, H, W] at sigma [B]. `combine` lets the host apply its own guidance functions."""
        guidance = self.guidance
        names = ["positive", "negative"] if guidance.needs_negative else ["positive"]
        predictions = evaluate([Branch(name, self.context, guidance.distilled) for name in names], x, sigma)
        self.evaluations += len(names)
        positive, negative = predictions[0], predictions[-1]
        guided = combine(positive, negative, guidance.cfg)
        if not guidance.needs_negative:
            return guided
        return rescale_guidance(guided, positive, x, sigma, guidance.rescale)
