"""Guidance: how strongly the text pulls, and how the predictions of one step become one.

FramePack is guidance-distilled: `distilled` enters the model as an embedding and costs nothing, real
classifier-free guidance (`cfg`) costs a second evaluation and is off at 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """The scales of one step. Raises ValueError for values out of range.

    distilled: the guidance that the model takes as an embedding, at no cost.
    cfg: the scale of real classifier-free guidance, which doubles the evaluations; 1 is off.
    rescale: how far the spread of the guided velocity is pulled back to the conditional one's, from 0 to 1.
    zero_star: whether the negative prediction is projected on the positive one first (CFG-Zero*).
    zero_velocity: whether the step leaves x where it is and predicts nothing.
    """

    distilled: float = 10.0
    cfg: float = 1.0
    rescale: float = 0.0
    zero_star: bool = False
    zero_velocity: bool = False

    def __post_init__(self) -> None:
        for name, value in (
            ("distilled_guidance", self.distilled),
            ("cfg", self.cfg),
            ("guidance_rescale", self.rescale),
        ):
            if not isfinite(value) or value < 0:
                raise ValueError(f"{name} is {value}; give a finite value of at least 0.")
        if self.rescale > 1:
            raise ValueError(f"guidance_rescale is {self.rescale}; give a value between 0 (off) and 1.")

    @property
    def needs_negative(self) -> bool:
        """Whether the step evaluates the negative prompt."""
        return self.cfg != 1.0


def combine_cfg(positive: Tensor, negative: Tensor | None, scale: float) -> Tensor:
    """Classifier-free guidance on predictions of any linear kind (x0 or velocity); the positive one without a negative."""
    return positive if negative is None else negative + (positive - negative) * scale


def project_negative(negative: Tensor, positive: Tensor, x: Tensor) -> Tensor:
    """CFG-Zero*: the negative velocity times <v_positive, v_negative> / |v_negative|^2, as x0 (arXiv 2503.18886)."""
    axes = tuple(range(1, x.ndim))
    velocity, reference = x - negative, x - positive
    squared = (velocity * velocity).sum(dim=axes, keepdim=True)
    return x - velocity * ((velocity * reference).sum(dim=axes, keepdim=True) / squared.clamp(min=1e-12))


def rescale_guidance(guided: Tensor, positive: Tensor, x: Tensor, sigma: Tensor, *, amount: float) -> Tensor:
    """Rescale the guided x0 so that its velocity's standard deviation moves towards that of the conditional one.

    Lin et al. 2023 (arXiv 2305.08891), equations 15 and 16, applied to v = (x - x0) / sigma as FramePack does.
    sigma [B].
    """
    if amount == 0:
        return guided
    sigma = sigma.view(-1, *[1] * (x.ndim - 1))
    velocity, reference = (x - guided) / sigma, (x - positive) / sigma
    axes = tuple(range(1, x.ndim))
    spread = velocity.std(dim=axes, keepdim=True)
    rescaled = velocity * (
        reference.std(dim=axes, keepdim=True) / torch.where(spread > 0, spread, torch.ones_like(spread))
    )
    return x - sigma * (amount * rescaled + (1 - amount) * velocity)
