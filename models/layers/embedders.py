"""How latents, times, text and image features become tokens and vectors.

Attribute names are diffusers' key names.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..attention.joint import TextAttention
from ..kept_work import KeptWork, once
from .blocks import FeedForward, heads_first, silu_of, split_heads
from .operations import Layers

SINUSOID_CHANNELS = 256


def frequencies(device: torch.device) -> Tensor:
    """Angles per unit of time of the sinusoidal embedding, from 1 down to nearly 1/10000: [128], float32."""
    half = SINUSOID_CHANNELS // 2
    steps = torch.arange(half, dtype=torch.float32, device=device)
    return torch.exp(-math.log(10000) * steps / half)


def sinusoid(t: Tensor) -> Tensor:
    """Sinusoidal embedding of times, cosines first: [B] -> [B, 256], float32."""
    angles = t.float()[:, None] * frequencies(t.device)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class VectorEmbedder(nn.Module):
    """Two linear layers around a SiLU."""

    def __init__(self, inputs: int, outputs: int, layers: Layers) -> None:
        super().__init__()
        self.linear_1 = layers.linear(inputs, outputs)
        self.linear_2 = layers.linear(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return result


def embed_time(t: Tensor, dtype: torch.dtype, embedder: nn.Module) -> Tensor:
    """Times, or guidance scales, [B] as vectors [B, D]."""
    vectors: Tensor = embedder(sinusoid(t).to(dtype))
    return vectors


class TimeTextEmbedder(nn.Module):
    """Time, pooled text and, where the model is guidance-distilled, the guidance scale: one vector [B, D]."""

    def __init__(self, dim: int, pooled_dim: int, guidance: bool, layers: Layers) -> None:
        super().__init__()
        self.timestep_embedder = VectorEmbedder(SINUSOID_CHANNELS, dim, layers)
        self.guidance_embedder = VectorEmbedder(SINUSOID_CHANNELS, dim, layers) if guidance else None
        self.text_embedder = VectorEmbedder(pooled_dim, dim, layers)

    def forward(
        self,
        timestep: Tensor,
        pooled: Tensor,
        guidance: Tensor | None = None,
        work: KeptWork | None = None,
    ) -> Tensor:
        vec = embed_time(timestep, pooled.dtype, self.timestep_embedder)
        if self.guidance_embedder is not None and guidance is not None:
            vec = vec + once(work, embed_time, guidance, pooled.dtype, self.guidance_embedder)
        result: Tensor = vec + once(work, self.text_embedder, pooled)
        return result


class PlainAttention(nn.Module):
    """Self-attention of the text tokens."""

    def __init__(self, dim: int, heads: int, layers: Layers) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = layers.linear(dim, dim)
        self.to_k = layers.linear(dim, dim)
        self.to_v = layers.linear(dim, dim)
        self.to_out = nn.Sequential(layers.linear(dim, dim))

    def forward(self, x: Tensor, mask: Tensor | None, attend: TextAttention) -> Tensor:
        q, k, v = (
            heads_first(split_heads(project(x), self.heads)) for project in (self.to_q, self.to_k, self.to_v)
        )
        result: Tensor = self.to_out(attend(q, k, v, mask=mask))
        return result


class Gates(nn.Module):
    """The two gates [B, 1, D] of a refiner block."""

    def __init__(self, dim: int, layers: Layers) -> None:
        super().__init__()
        self.linear = layers.linear(dim, 2 * dim)

    def forward(self, vec: Tensor) -> tuple[Tensor, ...]:
        result: tuple[Tensor, ...] = self.linear(F.silu(vec))[:, None].chunk(2, dim=-1)
        return result


class RefinerBlock(nn.Module):
    """Self-attention and feed-forward over the text tokens, gated by `vec`."""

    def __init__(self, dim: int, heads: int, layers: Layers) -> None:
        super().__init__()
        self.norm1 = layers.layer_norm(dim, affine=True)
        self.attn = PlainAttention(dim, heads, layers)
        self.norm2 = layers.layer_norm(dim, affine=True)
        self.ff = FeedForward(dim, 4 * dim, silu_of, layers)
        self.norm_out = Gates(dim, layers)

    def forward(self, x: Tensor, vec: Tensor, mask: Tensor | None, attend: TextAttention) -> Tensor:
        gate, ff_gate = self.norm_out(vec)
        x = x + gate * self.attn(self.norm1(x), mask, attend)
        result: Tensor = x + ff_gate * self.ff(self.norm2(x))
        return result


class Refiner(nn.Module):
    """The stack of blocks that refines text tokens."""

    def __init__(self, dim: int, heads: int, depth: int, layers: Layers) -> None:
        super().__init__()
        self.refiner_blocks = nn.ModuleList(RefinerBlock(dim, heads, layers) for _ in range(depth))

    def forward(self, x: Tensor, vec: Tensor, mask: Tensor | None, attend: TextAttention) -> Tensor:
        for block in self.refiner_blocks:
            x = block(x, vec, mask, attend)
        return x


class TextEmbedder(nn.Module):
    """Text features [B, L, text_dim] to refined tokens [B, L, D]; mask [B, L] is True at real tokens."""

    def __init__(self, *, text_dim: int, dim: int, heads: int, depth: int, layers: Layers) -> None:
        super().__init__()
        self.time_text_embed = TimeTextEmbedder(dim, text_dim, False, layers)
        self.proj_in = layers.linear(text_dim, dim)
        self.token_refiner = Refiner(dim, heads, depth, layers)

    def forward(
        self,
        text: Tensor,
        timestep: Tensor,
        mask: Tensor | None,
        *,
        attend: TextAttention,
        work: KeptWork | None = None,
    ) -> Tensor:
        pooled = once(work, masked_mean, text, mask)
        vec = self.time_text_embed(timestep, pooled, work=work)
        tokens, pairs = once(work, self.proj_in, text), once(work, refiner_mask, mask)
        result: Tensor = self.token_refiner(tokens, vec, pairs, attend)
        return result


def masked_mean(text: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the real tokens: [B, L, D] -> [B, D]; zeros where a row has none."""
    if mask is None:
        return text.mean(dim=1)
    weight = mask[..., None].float()
    return ((text * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)).to(text.dtype)


def refiner_mask(mask: Tensor | None) -> Tensor | None:
    """Real tokens see each other and all see the first, so that no row is empty: [B, L] -> [B, 1, L, L]."""
    if mask is None:
        return None
    pairs = rearrange(mask, "b q -> b 1 q 1") & rearrange(mask, "b k -> b 1 1 k")
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return pairs | first


class PatchEmbedder(nn.Module):
    """Latents of the window [B, C, T, H, W] to a grid of tokens [B, D, T, H / 2, W / 2]."""

    def __init__(self, channels: int, dim: int, layers: Layers) -> None:
        super().__init__()
        self.proj = layers.patches(channels, dim, (1, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.proj(x)
        return result


class ContextEmbedder(nn.Module):
    """Patches of the past: the finer the memory, the smaller the kernel."""

    def __init__(self, channels: int, dim: int, layers: Layers) -> None:
        super().__init__()
        self.proj = layers.patches(channels, dim, (1, 2, 2))
        self.proj_2x = layers.patches(channels, dim, (2, 4, 4))
        self.proj_4x = layers.patches(channels, dim, (4, 8, 8))

    def projection(self, ratio: int) -> nn.Module:
        """The convolution of the frames that are compressed 1, 2 or 4 times."""
        return {1: self.proj, 2: self.proj_2x, 4: self.proj_4x}[ratio]


class ImageProjection(nn.Module):
    """Image features [B, N, image_dim] to tokens [B, N, D]."""

    def __init__(self, image_dim: int, dim: int, layers: Layers) -> None:
        super().__init__()
        self.up = layers.linear(image_dim, 3 * dim)
        self.down = layers.linear(3 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down(F.silu(self.up(x)))
        return result
