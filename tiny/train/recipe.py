"""What a training run is: its sizes, lengths and mix, by preset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from ...models.config import FramePackConfig
from ..config import DIT
from .mix import Mix


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run: `steps` counts the transformer's, of which the last `distillation` share learns guidance.

    `subject_weight` is how much more a cell with a subject counts in the loss than one without, where there is no noise.
    `batch` is the examples of one replica and step; on a CPU each replica has a thread of its own.
    `layout` is the model's kind, f1 or original; without `encoders` only the transformer learns, so that both layouts share the
    text encoder and the vision tower of the weights that it begins from. Pictures are 64 times `scale` wide and high.
    """

    seed: int = 0
    layout: str = "f1"
    encoders: bool = True
    scale: int = 1
    dit: FramePackConfig = DIT
    mix: Mix = Mix()
    clips: int = 6000
    codec_clips: int = 1200
    codec_steps: int = 2200
    codec_rate: float = 2e-3
    decoder_steps: int = 1500
    clip_steps: int = 700
    steps: int = 12000
    batch: int = 12
    replicas: int = 2
    rate: float = 2e-3
    warm_up: int = 200
    ema: float = 0.999
    clip_norm: float = 1.0
    shift: float = 2.0
    subject_weight: float = 6.0
    distillation: float = 0.13
    guidance: tuple[float, float] = (1.0, 20.0)
    tail: float = 0.35


CPU = Recipe()
GPU = Recipe(
    clips=20000,
    codec_clips=4000,
    codec_steps=8000,
    decoder_steps=8000,
    clip_steps=4000,
    steps=30000,
    batch=128,
    replicas=1,
)
# 128 px: 16x16 latents, 12 million parameters.
LARGE_DIT = replace(DIT, num_attention_heads=5, num_layers=2, num_single_layers=6)
# The other layout begins from weights that know the text: it has more to learn about its history.
ORIGINAL_MIX = replace(Mix(), text_to_video=0.4)
PRESETS = {
    "cpu": CPU,
    "cpu-original": replace(CPU, layout="original", encoders=False, mix=ORIGINAL_MIX),
    "gpu": GPU,
    "gpu-original": replace(GPU, layout="original", encoders=False, mix=ORIGINAL_MIX),
    "gpu-128": replace(GPU, scale=2, dit=LARGE_DIT, clips=8000, batch=64),
}

Guidance = TypeVar("Guidance", float, Tensor)

DISTILLED_SLOPE = 0.15  # of real guidance by the distilled scale


def teacher_weight(guidance: Guidance) -> Guidance:
    """The weight of real guidance that a distilled scale stands for: 10 is 2.5."""
    return 1 + DISTILLED_SLOPE * guidance
