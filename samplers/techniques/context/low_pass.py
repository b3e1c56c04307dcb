"""Low-pass guidance: early steps see a start and last frame without details, so that they cannot copy them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...context.filters import add_noise, gaussian, packed_mask, parts_of, resize, with_parts
from ...context.history import Context
from ...context.plan import Section
from ..base import AttachmentKey, Step, Technique, attachment, check_range, check_window, in_window

logger = logging.getLogger(__name__)

FILTERS = ("resize", "gaussian", "noise")
# Pixels along a latent's side: an image is filtered as much as its latents are.
PIXELS = 8
# Far from the seeds of runs, whose noise must not be this one.
NOISE_SEED = 2**48
# How much of a token's length may belong to something else before the tokens count as another image's.
OTHER = 0.1


@dataclass(frozen=True, kw_only=True)
class LowPassGuidance(Technique):
    """Adaptive Low-Pass Guidance (Choi et al. 2025, arXiv 2506.08456) on the packed past, and on the image tokens.

    Inside a window of progress, x becomes (1 - w) x + w F(x), where w is 1 times the weight of x's part (start, last,
    history, vision) until the last `fade` of the window, and falls to 0 there. F by `filter`:

    - resize: bilinear with antialiasing by `factor` and back; factor 1 is off.
    - gaussian: width `sigma` in latents; sigma 0 is off.
    - noise: see filters.add_noise, at the level `noise` times w, drawn anew at every step (after CADS); noise 0 is off.

    Published: factor 0.625 in the first 4 % of the steps (HunyuanVideo), 0.4 in the first 20 % (Wan 2.1), 0.25 in the first 4 %
    (CogVideoX), of 50 steps and without fading, on latents alone. Image tokens are those of an image filtered likewise, from
    `vision_pair`, whose results are attached as `clean_tokens` and `filtered_tokens`. They stand in only for tokens
    of that image: an anchor that has been replaced keeps its own.

    filter: one of the above.
    factor: the size in between, for filter resize.
    sigma: the filter's width in latents, for filter gaussian.
    noise: the level of noise, for filter noise.
    start, last, history, vision: how much of the filter each part gets, 0 to 1.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    fade: the last share of the window, in which the filter fades out.
    clean_tokens: the key of the attached image's tokens.
    filtered_tokens: the key of the tokens of the filtered image.
    """

    filter: str = "resize"
    factor: float = 0.4
    sigma: float = 1.5
    noise: float = 0.7
    start: float = 1.0
    last: float = 1.0
    history: float = 0.0
    vision: float = 1.0
    t_start: float = 1.0
    t_end: float = 0.8
    fade: float = 0.5
    clean_tokens: AttachmentKey = attachment()
    filtered_tokens: AttachmentKey = attachment()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.filter not in FILTERS:
            raise ValueError(f"filter is {self.filter!r}; choose one of {', '.join(FILTERS)}.")
        check_range("factor", self.factor, 0.01, 1)
        check_range("sigma", self.sigma, 0, 64)
        for name in ("noise", "start", "last", "history", "vision", "fade"):
            check_range(name, getattr(self, name), 0, 1)
        check_window(self.t_start, self.t_end)

    @property
    def passes_all(self) -> bool:
        """Whether the filter is identity."""
        return {"resize": self.factor == 1, "gaussian": self.sigma == 0, "noise": self.noise == 0}[
            self.filter
        ]

    def weight(self, section: Section, step: Step) -> float:
        """How much of the filtered a step sees, from 0 to 1."""
        if self.passes_all or not in_window(step, self.t_start, self.t_end):
            return 0.0
        faded = self.fade * (self.t_start - self.t_end)
        left = step.t - self.t_end
        return self.amount(section) * (1.0 if left >= faded else left / faded)

    def context(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        """The same context; says so where the image tokens will be left alone."""
        tokens = self._filterable_tokens(context)
        if tokens is not None and self.amount(section) and not self._belongs(tokens, attachments)[0].all():
            logger.warning(
                "Section %d has image tokens of another image than Low-Pass Guidance was given; it filters "
                "latents alone there.",
                section.index,
            )
        return context

    def context_at(
        self, section: Section, step: Step, context: Context, attachments: Mapping[str, Any]
    ) -> Context:
        weight = self.weight(section, step)
        if weight == 0:
            return context
        weights = {
            "start": self.start,
            "last": self.last,
            "2x": self.history,
            "4x": self.history,
        }
        noises = torch.Generator().manual_seed(NOISE_SEED + section.index * 2**21 + round(step.t * 2**20))
        frames = {
            name: self._filtered(
                part.frames, mask=packed_mask(part.frames), weight=weight * weights[name], noises=noises
            )
            for name, part in parts_of(context).items()
            if weights[name] > 0
        }
        filtered = with_parts(context, frames) if frames else context
        tokens = self._filterable_tokens(context)
        if tokens is None:
            return filtered
        return replace(filtered, image_embeds=self._tokens(tokens, weight * self.vision, attachments))

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        return {"blended in": self.weight(section, step)}

    def filter_images(self, images: Tensor) -> Tensor:
        """Images [B, H, W, 3] in 0..1 without what the latents' filter takes away; the same object where it takes nothing."""
        if self.passes_all:
            return images
        frames = images[..., :3].movedim(-1, 1).unsqueeze(2).to(torch.float32)
        noises = torch.Generator().manual_seed(NOISE_SEED)
        filtered = self._filtered(frames, mask=None, weight=1.0, noises=noises, pixels=PIXELS)
        return filtered.squeeze(2).movedim(1, -1).clamp(0, 1)

    def vision_pair(self, images: Tensor, clip_vision: Any) -> dict[str, Tensor]:
        """Tokens [B, N, D] of images [B, H, W, 3], clean and filtered, for attaching; none where the filter passes all."""
        if self.passes_all or self.vision == 0:
            return {}
        return {
            name: clip_vision.encode_image(shown[..., :3], crop=False).last_hidden_state
            for name, shown in (("clean_tokens", images), ("filtered_tokens", self.filter_images(images)))
        }

    def _filtered(
        self,
        frames: Tensor,
        *,
        mask: Tensor | None,
        weight: float,
        noises: torch.Generator,
        pixels: int = 1,
    ) -> Tensor:
        """Frames [B, C, T, H, W] with `weight` of the filter, `pixels` to a latent; all videos of a batch get the same noise."""
        if self.filter == "noise":
            drawn = torch.randn((1, *frames.shape[1:]), generator=noises)
            return add_noise(frames, self.noise * weight, drawn, mask)
        if self.filter == "resize":
            passed = resize(frames, self.factor / pixels, mask)
        else:
            passed = gaussian(frames, [self.sigma * pixels] * frames.shape[2], mask=mask)
        return torch.lerp(frames, passed, weight)

    def _filterable_tokens(self, context: Context) -> Tensor | None:
        """The context's image tokens [B, N, D], where filtered ones are attached that may stand in for them."""
        return context.image_embeds if self.filtered_tokens and self.vision > 0 else None

    def _tokens(self, tokens: Tensor, weight: float, attachments: Mapping[str, Any]) -> Tensor:
        """Image tokens [B, N, D] with `weight` of the filtered ones, where they are those of the image."""
        same, share = self._belongs(tokens, attachments)
        filtered = attachments[self.filtered_tokens].to(tokens)
        return torch.where(same, torch.lerp(tokens, share * filtered, weight), tokens)

    def _belongs(self, tokens: Tensor, attachments: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Whether each video's tokens [B, N, D] are the clean ones times a factor, and the factor: both [B, 1, 1]."""
        clean = attachments[self.clean_tokens].to(tokens)
        if clean.shape[1:] != tokens.shape[1:] or clean.shape[0] not in (1, tokens.shape[0]):
            raise ValueError(
                f"Low-Pass Guidance made image tokens {list(clean.shape)}, the sampler's are {list(tokens.shape)}; "
                "use one CLIP vision model for both, and one image or as many as videos."
            )
        share = _dot(tokens, clean) / _dot(clean, clean).clamp(min=1e-12)
        rest = tokens - share * clean
        return _dot(rest, rest) <= OTHER**2 * _dot(tokens, tokens), share


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=(1, 2), keepdim=True)
