"""What a run is given beside its sections: scalars as settings, tensors as inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from torch import Tensor

from .conditioning import TextConditioning
from .guidance import Guidance

EMBED_INTERPOLATIONS = ("linear", "weighted_average")


@dataclass(frozen=True)
class SampleSettings:
    """Scalars of a run. `shift` 0 is upstream's automatic one; `denoise` is the strength for an initial latent.

    `seeds`, one for every video of the batch, stand in for `seed`: then a video's noise does not depend on the others.
    `embed_interpolation` and `start_embed_strength` mix the image tokens (see anchors.image_embeds_of). `measure_memory`
    writes into the trace how much of its attention every section pays to the packed past (see memory.memory_record).
    """

    layout: str = "f1"
    window: int = 9
    steps: int = 25
    shift: float = 0.0
    denoise: float = 1.0
    seed: int = 0
    guidance: Guidance = Guidance()
    upstream_rounding: bool = False
    seeds: tuple[int, ...] = ()
    embed_interpolation: str = "linear"
    start_embed_strength: float = 1.0
    measure_memory: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; give at least 1 (usual: 25).")
        if not isfinite(self.shift) or self.shift < 0:
            raise ValueError(f"shift is {self.shift}; give 0 (automatic) or a finite value above 0.")
        if not 0 < self.denoise <= 1:
            raise ValueError(f"denoise is {self.denoise}; give a value above 0 and at most 1.")
        if self.embed_interpolation not in EMBED_INTERPOLATIONS:
            raise ValueError(
                f"embed_interpolation is {self.embed_interpolation!r}; choose one of {', '.join(EMBED_INTERPOLATIONS)}."
            )
        if not 0 <= self.start_embed_strength <= 1:
            raise ValueError(
                f"start_embed_strength is {self.start_embed_strength}; give a value from 0 to 1."
            )


@dataclass(frozen=True, eq=False)
class SampleInputs:
    """Tensors of a run, checked. Latents [B, 16, T, H, W] float32 in the model's scale, vision tokens [B, N, D].

    `has_start` is False when `start` is only zeros (text to video). `initial` is aligned with the video's latents.
    `past` holds what the sections before those to be sampled have left, without the start frame, in the video's order.
    `given` is a video that goes on (plan_sections, assign_prompts: its latent frames as `given`): the result begins
    with it instead of the start frame. F1 remembers its last frames, the original layout only sees `start`.
    """

    start: Tensor
    has_start: bool
    negative: TextConditioning
    image_embeds: Tensor | None = None
    end: Tensor | None = None
    end_image_embeds: Tensor | None = None
    initial: Tensor | None = None
    past: Tensor | None = None
    given: Tensor | None = None
