"""Whether a forward's inputs fit the transformer, by their shapes alone, so that nothing waits for a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .config import FramePackConfig
from .packing import Tier, check_tier


def check_window(config: FramePackConfig, x: Tensor, tiers: Sequence[Tier]) -> None:
    """Raises ValueError where a window x or a tier of the past cannot be embedded."""
    if x.ndim != 5 or x.shape[1] != config.in_channels or x.numel() == 0:
        raise ValueError(f"x must be [B, {config.in_channels}, T, H, W], got {list(x.shape)}")
    if not config.has_clean_x_embedder and len(tiers) > 1:
        raise ValueError(f"{tiers[0].argument} was given, but this model has no clean_x_embedder")
    for tier in tiers:
        check_tier(tier, x)


def check_conditions(
    config: FramePackConfig,
    batch: int,
    *,
    timestep: Tensor,
    context: Tensor,
    attention_mask: Tensor | None,
    y: Tensor | None,
    guidance: Tensor | None,
    image_embeds: Tensor | None,
) -> None:
    """Raises ValueError where a condition is missing or does not fit the config or the batch."""
    if y is None:
        raise ValueError(f"y is missing: pass pooled text [{batch}, {config.pooled_projection_dim}]")
    if guidance is None and config.guidance_embeds:
        raise ValueError(f"guidance is missing: pass the distilled scale * 1000 as [{batch}]")
    if image_embeds is not None and not config.has_image_proj:
        raise ValueError("image_embeds were given, but this model has no image_projection; pass None")

    length = context.shape[1] if context.ndim == 3 else 0
    check_shape("timestep", timestep, batch)
    check_shape("context", context, batch, max(length, 1), config.text_embed_dim)
    check_shape("attention_mask", attention_mask, batch, length)
    check_shape("y", y, batch, config.pooled_projection_dim)
    check_shape("guidance", guidance, batch)
    if image_embeds is not None:
        tokens = image_embeds.shape[1] if image_embeds.ndim == 3 else 0
        check_shape("image_embeds", image_embeds, batch, tokens, config.image_proj_dim)


def check_shape(name: str, value: Tensor | None, *shape: int) -> None:
    """Raises ValueError where a tensor that is given has another shape."""
    if value is not None and tuple(value.shape) != shape:
        raise ValueError(f"{name} must be {list(shape)}, got {list(value.shape)}")
