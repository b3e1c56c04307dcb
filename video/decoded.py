"""Decoded videos that travel with their latents, so that a node behind the sampler need not decode them again."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .growing import DecodeSettings
from .segments import Segment

KEY = "framepack_decoded"  # in a LATENT beside its samples


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedVideos:
    """What the samples of a LATENT decode to.

    content: fingerprint of these samples.
    vae: the VAE, held weakly.
    settings: how they were decoded and encoded.
    videos: for each video of the batch its segments, in order.
    last_frames: the last frame of each video, [B, H, W, 3].
    images: all frames of all videos, [B * n, H, W, 3]; None where they were not kept.
    """

    content: str
    vae: weakref.ref[Any]
    settings: DecodeSettings
    videos: Sequence[Sequence[Segment]]
    last_frames: Tensor
    images: Tensor | None

    def difference(self, samples: Tensor, vae: Any, settings: DecodeSettings, *, images: bool) -> str | None:
        """Why it does not serve for these samples and settings, in words; None where it does.

        `images` says that all frames are needed.
        """
        if self.vae() is not vae:
            return "another VAE"
        if self.settings != settings:
            return "other settings"
        if images and self.images is None:
            return "all images wanted"
        return None if self.content == fingerprint(samples) else "a changed latent"


def fingerprint(samples: Tensor) -> str:
    """A text that other samples do not have."""
    data = samples.detach().cpu().contiguous()
    header = f"{tuple(data.shape)} {data.dtype} "
    return hashlib.sha256(header.encode() + data.view(torch.uint8).numpy().tobytes()).hexdigest()
