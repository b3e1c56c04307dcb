"""Episodes on their way: up to the switch, and what was sampled after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....samplers.conditioning import TextConditioning
from ....samplers.context.plan import Section
from ....samplers.settings import SampleInputs, SampleSettings


@dataclass(frozen=True, eq=False)
class SampledVideos:
    """Videos of a batch of episodes from the switch on, in the order of generation: backward, time runs backward in them.

    frames: float [B,T,64,64,3] in 0..1.
    evaluations: calls of the model for each video.
    seconds: time for each video.
    shared: the frames until the switch as they are beside these; None where they are those of StartState.
    """

    frames: np.ndarray
    evaluations: int
    seconds: float
    shared: np.ndarray | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class StartState:
    """Episodes of one case until the switch is met, and what the sampler goes on from.

    images: start images [B,64,64,3] in 0..1, for techniques that read them.
    sections: the sections that are left.
    inputs: start latents, image tokens and the latents so far.
    sampling: settings of the sampler, with the seeds of the noise.
    words: the texts that techniques can look for, by the property of the episodes.
    frames: the frames so far in the order of generation, float [B,T,64,64,3] in 0..1.
    shown: the video's own latents so far, where the model is to remember others.
    """

    images: Tensor
    sections: list[Section]
    inputs: SampleInputs
    sampling: SampleSettings
    words: Mapping[str, TextConditioning]
    frames: np.ndarray
    shown: Tensor | None = None

    def as_shown(self, latents: Tensor) -> Tensor:
        """A video's latents with its own past in place of the one that the model remembered."""
        if self.shown is None:
            return latents
        after = latents[:, :, 1 + self.shown.shape[2] :]
        return torch.cat([latents[:, :, :1], self.shown, after], dim=2)
