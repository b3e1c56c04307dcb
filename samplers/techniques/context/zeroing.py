"""Tokens of the packed past that are packed with nothing in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...context.history import Context
from ...context.tokens import segment_latents, tokens_to_cells
from .repacking import COARSE


def with_zeroed_tokens(context: Context, name: str, kept: Tensor) -> Context:
    """The context with 0 in place of what the tokens that do not stay are made of."""
    if name == "image" and context.image_embeds is not None:
        factor = kept.unsqueeze(-1).to(context.image_embeds)
        return replace(context, image_embeds=context.image_embeds * factor)
    latents = segment_latents(context)[name]
    frames, rows, columns = latents.shape[2:]
    factor = tokens_to_cells(kept.to(latents), name, (frames, rows, columns))[:, None]
    return _with_latents(context, name, latents * factor)


def _with_latents(context: Context, name: str, latents: Tensor) -> Context:
    """The context with other latents [B, 16, T, H, W] in a segment."""
    if name in COARSE:
        changes: dict[str, Any] = {f"clean_{name}": latents}
        return replace(context, **changes)
    parts = {**segment_latents(context), name: latents}
    return replace(
        context, clean=torch.cat([parts[part] for part in ("start", "last") if part in parts], dim=2)
    )
