"""What is timed: models of random weights, from one for a glance to the 13B model's own size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...models.config import FramePackConfig
from ...models.dit import FramePackDiT
from ...samplers.context.indices import HISTORY_2X, HISTORY_4X

WINDOW = 9


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and what it is given in one call.

    config: the model's shape.
    side: height and width of the latents.
    text: text tokens.
    image: image tokens.
    """

    config: FramePackConfig
    side: int
    text: int
    image: int

    @property
    def past_tokens(self) -> int:
        """Tokens of the packed past: start and last frame, the 2x and the 4x tier."""
        full, half, quarter = (_tokens(self.side, ratio) for ratio in (1, 2, 4))
        return 2 * full + HISTORY_2X // 2 * half + HISTORY_4X // 4 * quarter

    @property
    def window_tokens(self) -> int:
        """Tokens of the noisy window."""
        return WINDOW * _tokens(self.side, 1)

    @property
    def condition_tokens(self) -> int:
        """Text and image tokens."""
        return self.text + self.image


def _tokens(side: int, ratio: int) -> int:
    """Tokens of a frame, or of the frames that are packed as one, whose patches are 2 * ratio wide."""
    return (-(-side // (2 * ratio))) ** 2


SIZES = {
    "small": Size(
        config=FramePackConfig(
            num_attention_heads=2, attention_head_dim=32, rope_axes_dim=(8, 12, 12), num_layers=1,
            num_single_layers=2, num_refiner_layers=1, text_embed_dim=32, pooled_projection_dim=32, image_proj_dim=32,
        ),
        side=8, text=8, image=8,
    ),
    "mid": Size(
        config=FramePackConfig(
            num_attention_heads=8, attention_head_dim=64, rope_axes_dim=(16, 24, 24), num_layers=4,
            num_single_layers=8, num_refiner_layers=1, text_embed_dim=256, pooled_projection_dim=128, image_proj_dim=192,
        ),
        side=32, text=64, image=64,
    ),
    "13b": Size(config=FramePackConfig(), side=80, text=256, image=729),
}  # fmt: skip


def random_model(size: Size, device: torch.device, dtype: torch.dtype) -> FramePackDiT:
    """A transformer of random weights that keep the size of what passes through, made on the device itself."""
    with torch.device("meta"):
        dit = FramePackDiT(size.config, dtype=dtype)
    dit = dit.to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(1)
    for name, parameter in dit.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return dit


def same_weights(dit: FramePackDiT) -> FramePackDiT:
    """Another transformer around the very weights of `dit`."""
    with torch.device("meta"):
        copy = FramePackDiT(dit.config, dtype=dit.dtype)
    copy.load_state_dict(dit.state_dict(), assign=True)
    return copy.eval().requires_grad_(False)


def random_inputs(size: Size, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The arguments of one call with a whole past, image tokens and text."""
    generator, config = torch.Generator(device).manual_seed(2), size.config

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(dtype)

    def latents(frames: int) -> Tensor:
        return normal(1, config.in_channels, frames, size.side, size.side)

    places = torch.arange(1 + HISTORY_4X + HISTORY_2X + 1 + WINDOW, device=device)
    start, far, near, last, window = torch.split(places, [1, HISTORY_4X, HISTORY_2X, 1, WINDOW])
    return {
        "x": latents(WINDOW),
        "timestep": torch.tensor([700.0], device=device),
        "context": normal(1, size.text, config.text_embed_dim),
        "y": normal(1, config.pooled_projection_dim),
        "guidance": torch.tensor([10000.0], device=device),
        "image_embeds": normal(1, size.image, config.image_proj_dim),
        "latent_indices": window,
        "clean_latents": latents(2),
        "clean_latent_indices": torch.cat((start, last)),
        "clean_latents_2x": latents(HISTORY_2X),
        "clean_latent_2x_indices": near,
        "clean_latents_4x": latents(HISTORY_4X),
        "clean_latent_4x_indices": far,
    }


def without_past(inputs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call that packs no past."""
    return {name: value for name, value in inputs.items() if "clean" not in name}
