"""What a training run is: its sizes, lengths and mix, by preset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from ...models.config import FramePackConfig
from ..config import DIT


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Shares of the examples that have a start image, and of the batches that have none (text_to_video).

    real: the scene changes at the window's first frame and the prompt says so; caption_noise: the prompt says
    so, but nothing changes (this makes the model trust its memory, as it does in real corpora); after: the
    history already shows the new scene; the rest is normal. text_dropout: the prompt is empty.
    """

    real: float = 0.10
    caption_noise: float = 0.18
    after: float = 0.12
    text_dropout: float = 0.10
    text_to_video: float = 0.4
    window_5: float = 0.25
    history_noise: float = 0.5
    history_noise_sigma: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.caption_noise <= 1 - self.real - self.after:
            raise ValueError(
                f"caption_noise is {self.caption_noise}; give a share from 0 to {1 - self.real - self.after:g}."
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run: `steps` counts the transformer's, of which the last `distillation` share learns guidance.

    `subject_weight` is how much more a cell with a subject counts in the loss than one without, where there is no noise.
    `batch` is the examples of one replica and step; on a CPU each replica has a thread of its own.
    """

    seed: int = 0
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
PRESETS = {"cpu": CPU, "gpu": GPU}

Guidance = TypeVar("Guidance", float, Tensor)

DISTILLED_SLOPE = 0.15  # of real guidance by the distilled scale


def teacher_weight(guidance: Guidance) -> Guidance:
    """The weight of real guidance that a distilled scale stands for: 10 is 2.5."""
    return 1 + DISTILLED_SLOPE * guidance
