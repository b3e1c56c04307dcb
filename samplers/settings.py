"""What a run needs beside its sections: scalars as settings, tensors as inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from torch import Tensor

from .conditioning import TextConditioning
from .guidance import Guidance

EMBED_INTERPOLATIONS = ("linear", "weighted_average")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """The scalars of a run. Raises ValueError for values that it cannot use.

    layout: f1, original or one_frame, for the trace; the sections themselves carry the direction.
    window: latent frames of a section.
    steps: denoising steps of a section.
    shift: how far the schedule is bent towards noise; 0 is upstream's automatic value for the size.
    denoise: the sigma to begin from where there is an initial latent, above 0 and at most 1.
    seed: of the noise.
    guidance: the scales of every step before techniques change them.
    upstream_rounding: whether timestep and guidance are rounded to bfloat16 as upstream does.
    seeds: one for each video of the batch in place of `seed`, so that no video's noise depends on the others; empty
        for none.
    embed_interpolation: how start and end image tokens mix, linear or weighted_average (see anchors.image_embeds_of).
    start_embed_strength: the share of the start image's tokens, from 0 to 1.
    measure_memory: whether the trace says how much attention each section pays to the packed past (see
        memory.memory_record).
    recent_frames: how many remembered latent frames are packed at full resolution, at most; the sections carry how many
        each has.
    section_seeds: by the index of a section, a seed of its own.
    colour_anchor: how far each remembered section is brought back to the colours of its scene, from 0 (off) to 1 (see
        colour_anchor.anchor_colours).
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
    recent_frames: int = 1
    section_seeds: Mapping[int, int] = field(default_factory=dict)
    colour_anchor: float = 0.0

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
        if not 0 <= self.colour_anchor <= 1:
            raise ValueError(f"colour_anchor is {self.colour_anchor}; give a value from 0 (off) to 1.")
        if not 0 <= self.start_embed_strength <= 1:
            raise ValueError(
                f"start_embed_strength is {self.start_embed_strength}; give a value from 0 to 1."
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleInputs:
    """The tensors of a run, checked. Latents are [B, 16, T, H, W], float32 in the model's scale.

    start: the start frame, T = 1; zeros for text to video.
    has_start: whether `start` is an image.
    negative: the negative prompt.
    image_embeds: the start image's tokens [B, N, D]; None for none.
    end: the frame that follows the video, T = 1; None for none.
    end_image_embeds: the end image's tokens [B, N, D]; None for none.
    initial: a video to begin from in place of noise alone, aligned with the result; None for none.
    earlier_sections: the latents of the sections before those to be sampled, in the order of the video and without the
        start frame; None where the run begins with the first section.
    past_video: a video that the result begins with in place of the start frame; None for none. Forward generation
        remembers its last frames, backward generation sees only `start`.
    """

    start: Tensor
    has_start: bool
    negative: TextConditioning
    image_embeds: Tensor | None = None
    end: Tensor | None = None
    end_image_embeds: Tensor | None = None
    initial: Tensor | None = None
    earlier_sections: Tensor | None = None
    past_video: Tensor | None = None

    @property
    def past_latent_frames(self) -> int:
        """The latent frames of the past video, 0 where there is none."""
        return 0 if self.past_video is None else self.past_video.shape[2]
