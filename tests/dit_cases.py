"""Small transformers and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from torch import Tensor

SMALL: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "rope_axes_dim": (8, 12, 12),
    "num_layers": 1,
    "num_single_layers": 2,
    "num_refiner_layers": 1,
    "text_embed_dim": 24,
    "pooled_projection_dim": 20,
    "image_proj_dim": 12,
    "has_image_proj": True,
    "has_clean_x_embedder": True,
}


def make_dit(*, seed: int = 0, dtype: torch.dtype | None = None, **changes: Any) -> FramePackDiT:
    """A small transformer of random weights; all but `attention` and `operations` goes to its config."""
    torch.manual_seed(seed)
    extras = {name: changes.pop(name) for name in ("attention", "operations") if name in changes}
    return FramePackDiT(FramePackConfig(**{**SMALL, **changes}), dtype=dtype, **extras).eval()


def make_inputs(
    *,
    batch: int = 1,
    window: int = 2,
    height: int = 8,
    width: int = 8,
    text: int = 5,
    image: int = 3,
    seed: int = 1,
) -> dict[str, Tensor]:
    """The arguments of forward for a SMALL transformer, in float32: all tiers, image tokens, no text mask."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "x": normal(batch, 16, window, height, width),
        "timestep": 1000 * torch.rand(batch, generator=generator),
        "context": normal(batch, text, SMALL["text_embed_dim"]),
        "y": normal(batch, SMALL["pooled_projection_dim"]),
        "guidance": torch.full((batch,), 10000.0),
        "image_embeds": normal(batch, image, SMALL["image_proj_dim"]),
        "latent_indices": torch.arange(20, 20 + window),
        "clean_latents": normal(batch, 16, 2, height, width),
        "clean_latent_indices": torch.tensor((0, 19)),
        "clean_latents_2x": normal(batch, 16, 2, height, width),
        "clean_latent_2x_indices": torch.arange(17, 19),
        "clean_latents_4x": normal(batch, 16, 16, height, width),
        "clean_latent_4x_indices": torch.arange(1, 17),
    }


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of the expected."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())
