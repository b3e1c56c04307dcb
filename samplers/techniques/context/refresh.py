"""Context refresh: what is remembered of the old scene is denoised again under the new prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...context.indices import HISTORY, Direction
from ...context.plan import Section
from ..base import PASTS, AttachmentKey, Step, Technique, attachment, check_range
from ..preparation import Preparation

ANCHORS = ("kept", "replaced")
HISTORIES = ("kept", "emptied")
# Less noise than float32 schedules can fall through.
NOTHING = 1e-4


@dataclass(frozen=True, kw_only=True)
class ContextRefresh(Technique):
    """Denoises the latest frames of the past again, under the new prompt.

    The latent frames next to the window are noised to sigma `strength` and denoised; this section and later ones
    remember the result instead. The video keeps the frames it has shown.

    FramePack embeds its context anew at every step, so there is no stale cache as in streaming models (LongLive's
    KV-recache, arXiv 2509.22622): what is stale is what history pixels, start frame and image tokens show.

    A whole window is denoised and its nearest `frames` are used (0: all of them). `sees` is how much of the past it sees
    while it is denoised: full, anchor or none. `anchor` replaced makes the refreshed frame the start frame too, and its
    image tokens where a VAE and a CLIP vision model are attached. `history` emptied forgets everything beyond the
    refreshed frames; with the anchor replaced, F1 then sees what it sees in first sections. A section that remembers
    nothing, the first one of a shot, is left alone.

    strength: the sigma from which frames are denoised again; 0 is off.
    frames: how many of the latent frames next to the window are replaced; 0 for a whole window.
    sees: how much of the past they see while they are denoised: full, anchor or none.
    anchor: whether the start frame is kept or replaced.
    history: whether older frames are kept or emptied.
    vae: the key of the attached VAE.
    clip_vision: the key of the attached CLIP vision model.
    """

    strength: float = 0.75
    frames: int = 0
    sees: str = "full"
    anchor: str = "kept"
    history: str = "kept"
    vae: AttachmentKey = attachment()
    clip_vision: AttachmentKey = attachment()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("strength", self.strength, 0, 1)
        if self.frames < 0:
            raise ValueError(f"frames is {self.frames}; give 0 (the whole window) or more.")
        for name, options in (("sees", PASTS), ("anchor", ANCHORS), ("history", HISTORIES)):
            if getattr(self, name) not in options:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(options)}.")

    def before_section(self, section: Section, preparation: Preparation) -> None:
        strength = self.strength * self.amount(section)
        if strength < NOTHING or not section.goes_on:
            return
        forward = section.direction is Direction.FORWARD
        window = section.latents[1] - section.latents[0]
        context = preparation.history.before_recent(window).context(section, preparation.image_embeds())
        latest = held(preparation.history.recent(window), window, forward)
        fresh = preparation.denoise(context.without(self.sees), latest, strength)
        used = nearest(fresh, min(self.frames or window, HISTORY), forward)
        if self.history == "emptied":
            preparation.history.forget()
        preparation.history.replace_recent(used)
        if self.anchor == "replaced":
            touching = nearest(used, 1, forward)
            preparation.history.replace_anchor(touching, self._tokens(touching, preparation))
        preparation.record["refreshed"] = {"sigma": strength, "frames": used.shape[2], "anchor": self.anchor}

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        """The sigma that the memory was refreshed from before the section's steps."""
        strength = self.strength * self.amount(section)
        return {"refreshed from sigma": strength if section.goes_on else 0.0}

    def _tokens(self, latent: Tensor, preparation: Preparation) -> Tensor | None:
        """Image tokens of a latent frame [B, 16, 1, H, W]; None without the models that make them, or without tokens."""
        if not self.vae or not self.clip_vision or preparation.image_embeds() is None:
            return None
        images = first_images(preparation.attachments[self.vae].decode(preparation.to_vae(latent)))
        return preparation.vision_tokens(
            preparation.attachments[self.clip_vision].encode_image(images, crop=False)
        )


def held(latents: Tensor, count: int, forward: bool) -> Tensor:
    """`latents` [B, C, T, H, W] as `count` frames, the one farthest from the next window held where more are wanted."""
    missing = max(count - latents.shape[2], 0)
    farthest = (latents[:, :, :1] if forward else latents[:, :, -1:]).repeat(1, 1, missing, 1, 1)
    return torch.cat([farthest, latents] if forward else [latents, farthest], dim=2)


def nearest(latents: Tensor, count: int, forward: bool) -> Tensor:
    """The `count` frames of [B, C, T, H, W] that touch the next window: the last ones where time runs forward."""
    return latents[:, :, -count:] if forward else latents[:, :, :count]


def first_images(decoded: Any) -> Tensor:
    """The first frame of each video as images [B, H, W, 3], from what a VAE's decode gives ([B, T, H, W, 3] or [B, H, W, 3])."""
    images: Tensor = torch.as_tensor(decoded)
    return images[:, 0] if images.ndim == 5 else images
