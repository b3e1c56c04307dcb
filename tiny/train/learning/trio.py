"""What learns together: the transformer, the text encoder and the vision tower."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ....models.attention.joint import sdpa_attention
from ....models.dit import FramePackDiT
from ...config import TEXT, VISION
from ...networks.text import TinyText, token_ids
from ...networks.vision import TinyVisionTower
from ..data.batches import Batch
from ..recipe import Recipe
from .quick import plain_attention


class Trio(nn.Module):
    """The transformer with its text encoder and vision tower."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__()
        attention = plain_attention if device.type == "cpu" else sdpa_attention
        self.dit = FramePackDiT(recipe.dit, attention=attention)
        self.text = TinyText(TEXT)
        self.vision = TinyVisionTower(VISION)
        self.to(device)

    def forward(
        self, batch: Batch, x: Tensor, sigma: Tensor, guidance: Tensor, *, empty: bool = False
    ) -> Tensor:
        """Velocity [B,16,w,h,w'] of x at sigma [B] and distilled scales [B]; `empty` drops the text."""
        tokens, mask = empty_text(batch) if empty else (batch.tokens, batch.mask)
        states, pooled = self.text(tokens, mask)
        image = None
        if batch.images is not None:
            image = self.vision(batch.images.permute(0, 3, 1, 2).float() / 127.5 - 1)[0]
        velocity: Tensor = self.dit(
            x,
            sigma * 1000,
            states,
            attention_mask=mask,
            y=pooled,
            guidance=guidance * 1000,
            image_embeds=image,
            **batch.past,
        )
        return velocity


def empty_text(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """The empty prompt for every example, as long as their prompts where lengths cost a compiler time."""
    ids = torch.tensor(token_ids(""), device=batch.tokens.device)
    if batch.mask is None or batch.tokens.device.type == "cpu":
        return ids.expand(len(batch.tokens), -1), None
    tokens, mask = torch.zeros_like(batch.tokens), torch.zeros_like(batch.mask)
    tokens[:, : len(ids)], mask[:, : len(ids)] = ids, True
    return tokens, mask


def share(module: Trio) -> Trio:
    """A copy of a Trio with the same weights in memory and gradients of its own."""
    twin = copy.deepcopy(module)
    for own, given in zip(twin.parameters(), module.parameters()):
        own.data = given.data
    return twin


def compile_blocks(trio: Trio, backend: str = "inductor") -> None:
    """Let the transformer's blocks be compiled when they are first called; where that fails they run as they are."""
    import torch._dynamo.config as settings

    settings.suppress_errors = True
    # Windows of two lengths, with and without an image, with and without gradients.
    # Older versions of torch have it under another name.
    limit = "recompile_limit" if hasattr(settings, "recompile_limit") else "cache_size_limit"
    setattr(settings, limit, max(getattr(settings, limit), 32))
    for block in (*trio.dit.transformer_blocks, *trio.dit.single_transformer_blocks):
        # Lengths of sequences vary from the start: compiling for the first one would be in vain.
        block.compile(backend=backend, dynamic=True)
