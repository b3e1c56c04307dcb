"""Generate videos for episodes by the pack's own sampler, at distilled guidance 10 and real guidance 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....models.plain import PlainModel
from ....samplers.conditioning import Prompt, TextConditioning
from ....samplers.context.plan import Section, plan_sections
from ....samplers.denoising.drivers import PlainDriver
from ....samplers.denoising.sections import sample_sections
from ....samplers.settings import SampleInputs, SampleSettings
from ....samplers.techniques.base import Technique
from ....samplers.techniques.wiring import with_technique
from ...bundle import TinyBundle
from ...precision import autocast
from ..data.store import to_input
from ..data.tokens import tokenized

Pictures = NDArray[np.uint8]
Frames = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How episodes are sampled: in bfloat16 where the device is quick at it, unless that is turned off.

    `scale` is that of the pictures, 64 px times it.
    """

    window: int = 9
    steps: int = 12
    solver: str = "unipc_bh1"
    layout: str = "f1"
    scale: int = 1
    bfloat16: bool = True


@dataclass(frozen=True, eq=False, kw_only=True)
class Past:
    """What was generated before: latents [B,16,L,h,w] of whole sections in the order of the video, without the start frame."""

    latents: Tensor
    sections: int


class Generator:
    """Generates videos with a bundle's model."""

    def __init__(self, bundle: TinyBundle, settings: Settings) -> None:
        self.bundle, self.settings = bundle, settings
        self.device = next(bundle.dit.parameters()).device

    @torch.no_grad()
    def sections(
        self,
        seeds: Sequence[int],
        prompts: Sequence[Sequence[str]],
        *,
        start: Pictures | None = None,
        end: Pictures | None = None,
        past: Past | None = None,
        to_come: int = 0,
        remedies: tuple[Technique, ...] = (),
    ) -> Tensor:
        """Latents [B,16,L,h,w] of the sections that are asked for, in the order of the video, without the start frame.

        prompts[section][video] are their texts in the order of generation, start and end images uint8 [B,H,W,3] or none. After
        `past` the first of them is the one of the switch, where `remedies` act; `to_come` further ones are left out.
        """
        planned = self._plan(prompts, past, to_come, start is not None)
        inputs = self._inputs(len(seeds), start, end, past)
        sampling = SampleSettings(
            layout=self.settings.layout,
            window=self.settings.window,
            steps=self.settings.steps,
            seeds=tuple(seeds),
        )
        model = PlainModel(self.bundle.dit, self.bundle.latent_scale)
        for remedy in remedies:
            model = with_technique(model, remedy)
        with autocast(self.device, self.settings.bfloat16):
            video, _ = sample_sections(
                PlainDriver(model), planned, inputs, sampling, solver=self.settings.solver
            )
        made = video[:, :, int(start is not None) :]
        length = len(prompts) * self.settings.window
        return made[:, :, -length:] if self.settings.layout == "f1" else made[:, :, :length]

    def _plan(
        self, prompts: Sequence[Sequence[str]], past: Past | None, to_come: int, has_start: bool
    ) -> list[Section]:
        done = past.sections if past else 0
        count = done + len(prompts) + to_come
        planned = plan_sections(self.settings.layout, count, self.settings.window, keeps_start=has_start)
        texts = [
            Prompt(start=float(number), text=words[0], conditioning=self.conditioning(words))
            for number, words in enumerate(prompts)
        ]
        sections = [
            section.with_prompt(text, change=1.0, since_switch=number if done else None)
            for number, (section, text) in enumerate(zip(planned[done:], texts))
        ]
        if done:
            sections[0] = replace(sections[0], previous=texts[0])
        return sections

    def _inputs(
        self, count: int, start: Pictures | None, end: Pictures | None, past: Past | None
    ) -> SampleInputs:
        side = 8 * self.settings.scale
        latent, image = torch.zeros(count, 16, 1, side, side), None
        if start is not None:
            latent = self.encoded(start[:, None])
            pixels = torch.from_numpy(start).float() / 255
            image = self.bundle.clip_vision.encode_image(pixels, crop=False).last_hidden_state
        return SampleInputs(
            start=latent,
            has_start=start is not None,
            negative=self.conditioning([""] * count),
            image_embeds=image,
            end=None if end is None else self.encoded(end[:, None]),
            earlier_sections=None if past is None else past.latents,
        )

    @torch.no_grad()
    def conditioning(self, prompts: Sequence[str]) -> TextConditioning:
        """Prompts as one batch of text."""
        tokens, mask = tokenized(list(prompts))
        states, pooled = self.bundle.clip.encoder(tokens.to(self.device), mask.to(self.device))
        return TextConditioning(states.float().cpu(), pooled.float().cpu(), None if mask.all() else mask)

    @torch.no_grad()
    def encoded(self, frames: Pictures) -> Tensor:
        """Latents [B,16,L,h,w] in the scale of sampling of frames uint8 [B,T,H,W,3]."""
        video = to_input(torch.from_numpy(frames)).to(self.device)
        return self.bundle.vae.codec.encode(video).float().cpu() * self.bundle.latent_scale

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Frames:
        """Frames 0..1 [B,4L-3,H,W,3] of latents in the scale of sampling."""
        video = self.bundle.vae.codec.decode((latents / self.bundle.latent_scale).to(self.device))
        frames: Frames = ((video.float().cpu() + 1) / 2).clamp(0, 1).movedim(1, -1).numpy()
        return frames

    def window_frames(self, before: Tensor, window: Tensor) -> Frames:
        """The frames [B,4w,H,W,3] of a window's latents, decoded behind the latents that are before it in the video."""
        return self.decoded(torch.cat([before, window], dim=2))[:, -4 * window.shape[2] :]
