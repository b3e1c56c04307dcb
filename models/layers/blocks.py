"""The blocks of the transformer; attribute names are diffusers' key names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention.joint import AttentionFunction, Segments
from .operations import Layers, Linear

# What a linear layer gives for x, and an activation of it.
Activated = Callable[[nn.Module, Tensor], Tensor]
Rotate = Callable[[Tensor, Tensor], Tensor]


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU in its tanh approximation."""
    return F.gelu(x, approximate="tanh")


def gelu_of(layer: nn.Module, x: Tensor) -> Tensor:
    """`gelu_tanh` of what a linear layer gives for x, in one pass where the layer is the pack's own."""
    activated: Tensor = layer(x, gelu=True) if type(layer) is Linear else gelu_tanh(layer(x))
    return activated


def silu_of(layer: nn.Module, x: Tensor) -> Tensor:
    """SiLU of what a linear layer gives for x."""
    return F.silu(layer(x))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, L, heads * D] to [B, L, heads, D]."""
    return torch.unflatten(x, -1, (heads, -1))


def heads_first(x: Tensor) -> Tensor:
    """[B, L, heads, D] to [B, heads, L, D], as attention wants it, without moving anything in memory."""
    return x.transpose(1, 2)


def normalise(norm: nn.Module, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x [B, L, D] by a LayerNorm without weights, then times 1 + scale and plus shift, both [B, 1, D].

    For a batch of one the vectors are the norm's weights, and all of it is one kernel.
    """
    if scale.shape[0] > 1 or scale.dtype != x.dtype:
        return torch.addcmul(shift, norm(x), 1 + scale)
    weight, bias = (1 + scale).flatten(), shift.flatten()
    return F.layer_norm(x, list(x.shape[-1:]), weight, bias, cast(float, norm.eps))


def add_gated(x: Tensor, gate: Tensor, added: Tensor) -> Tensor:
    """x + gate * added, of tokens [B, L, D] and vectors [B, 1, D]."""
    return torch.addcmul(x, gate, added)


class Modulation(nn.Module):
    """A LayerNorm without weights of its own and the vectors [B, 1, D] that modulate around it."""

    def __init__(self, dim: int, vectors: int, layers: Layers) -> None:
        super().__init__()
        self.vectors = vectors
        self.linear = layers.linear(dim, vectors * dim)
        self.norm = layers.layer_norm(dim, affine=False)

    def forward(self, vec: Tensor) -> tuple[Tensor, ...]:
        result: tuple[Tensor, ...] = self.linear(F.silu(vec))[:, None].chunk(self.vectors, dim=-1)
        return result


class Projection(nn.Module):
    """A linear layer and its activation."""

    def __init__(self, inputs: int, outputs: int, activated: Activated, layers: Layers) -> None:
        super().__init__()
        self.proj = layers.linear(inputs, outputs)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        return self.activated(self.proj, x)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, dim: int, hidden: int, activated: Activated, layers: Layers) -> None:
        super().__init__()
        # Keys are net.0.proj and net.2: the reference has a dropout between them.
        self.net = nn.Sequential(
            Projection(dim, hidden, activated, layers), nn.Identity(), layers.linear(hidden, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result


class SelfProjections(nn.Module):
    """Queries, keys and values of one stream, normalised per head."""

    def __init__(self, dim: int, heads: int, layers: Layers) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = layers.linear(dim, dim)
        self.to_k = layers.linear(dim, dim)
        self.to_v = layers.linear(dim, dim)
        self.norm_q = layers.rms_norm(dim // heads)
        self.norm_k = layers.rms_norm(dim // heads)

    def query(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm_q(split_heads(self.to_q(x), self.heads))
        return result

    def key(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm_k(split_heads(self.to_k(x), self.heads))
        return result

    def value(self, x: Tensor) -> Tensor:
        result: Tensor = split_heads(self.to_v(x), self.heads)
        return result


class JointProjections(SelfProjections):
    """The same for two streams, each with its own weights, and the way out of the joint sequence."""

    def __init__(self, dim: int, heads: int, layers: Layers) -> None:
        super().__init__(dim, heads, layers)
        self.add_q_proj = layers.linear(dim, dim)
        self.add_k_proj = layers.linear(dim, dim)
        self.add_v_proj = layers.linear(dim, dim)
        self.norm_added_q = layers.rms_norm(dim // heads)
        self.norm_added_k = layers.rms_norm(dim // heads)
        self.to_out = nn.Sequential(layers.linear(dim, dim))
        self.to_add_out = layers.linear(dim, dim)

    def joint(self, img: Tensor, txt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [B, L, H, D] of img [B, L_img, H * D] followed by txt [B, L_txt, H * D]."""
        q = self.norm_added_q(split_heads(self.add_q_proj(txt), self.heads))
        k = self.norm_added_k(split_heads(self.add_k_proj(txt), self.heads))
        v = split_heads(self.add_v_proj(txt), self.heads)
        return (
            torch.cat((self.query(img), q), dim=1),
            torch.cat((self.key(img), k), dim=1),
            torch.cat((self.value(img), v), dim=1),
        )


class DoubleBlock(nn.Module):
    """Video tokens and condition tokens attend together and keep separate weights."""

    def __init__(self, *, dim: int, heads: int, hidden: int, index: int, layers: Layers) -> None:
        super().__init__()
        self.block = ("double", index)
        self.norm1 = Modulation(dim, 6, layers)
        self.norm1_context = Modulation(dim, 6, layers)
        self.attn = JointProjections(dim, heads, layers)
        self.norm2 = layers.layer_norm(dim, affine=False)
        self.ff = FeedForward(dim, hidden, gelu_of, layers)
        self.norm2_context = layers.layer_norm(dim, affine=False)
        self.ff_context = FeedForward(dim, hidden, gelu_of, layers)

    def forward(
        self,
        *,
        img: Tensor,
        txt: Tensor,
        vec: Tensor,
        pe: Tensor,
        mask: Tensor | None,
        segments: Segments,
        attention: AttentionFunction,
        rotate: Rotate,
        transformer_options: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor]:
        """img [B, L_img, D], txt [B, L_txt, D], vec [B, D] -> img, txt; `rotate` turns queries and keys by pe [B or 1, L, ...]."""
        shift, scale, gate, ff_shift, ff_scale, ff_gate = self.norm1(vec)
        t_shift, t_scale, t_gate, t_ff_shift, t_ff_scale, t_ff_gate = self.norm1_context(vec)

        # attention over the joint sequence
        q, k, v = self.attn.joint(
            normalise(self.norm1.norm, img, scale, shift),
            normalise(self.norm1_context.norm, txt, t_scale, t_shift),
        )
        joint = attention(
            heads_first(rotate(q, pe)), heads_first(rotate(k, pe)), heads_first(v), mask=mask, segments=segments,
            block=self.block, transformer_options=transformer_options,
        )  # fmt: skip
        img_attended, txt_attended = torch.split(joint, [img.shape[1], txt.shape[1]], dim=1)
        img = add_gated(img, gate, self.attn.to_out(img_attended))
        txt = add_gated(txt, t_gate, self.attn.to_add_out(txt_attended))

        # feed-forward, each stream alone
        img = add_gated(img, ff_gate, self.ff(normalise(self.norm2, img, ff_scale, ff_shift)))
        txt = add_gated(
            txt, t_ff_gate, self.ff_context(normalise(self.norm2_context, txt, t_ff_scale, t_ff_shift))
        )
        return img, txt


class SingleBlock(nn.Module):
    """All tokens share weights; attention and feed-forward run side by side."""

    def __init__(self, *, dim: int, heads: int, hidden: int, index: int, layers: Layers) -> None:
        super().__init__()
        self.block = ("single", index)
        self.attn = SelfProjections(dim, heads, layers)
        self.norm = Modulation(dim, 3, layers)
        self.proj_mlp = layers.linear(dim, hidden)
        self.proj_out = layers.linear(dim + hidden, dim)

    def forward(
        self,
        *,
        x: Tensor,
        vec: Tensor,
        pe: Tensor,
        mask: Tensor | None,
        segments: Segments,
        attention: AttentionFunction,
        rotate: Rotate,
        transformer_options: Mapping[str, Any],
        rows: slice | None = None,
    ) -> Tensor:
        """x [B, L, D] -> [B, L, D], or with `rows` only these tokens of it, which then alone are queries."""
        shift, scale, gate = self.norm(vec)
        tokens = normalise(self.norm.norm, x, scale, shift)
        k, v = rotate(self.attn.key(tokens), pe), self.attn.value(tokens)

        if rows is not None:
            x, tokens, pe = x[:, rows], tokens[:, rows], pe[:, rows]
        attended = attention(
            heads_first(rotate(self.attn.query(tokens), pe)), heads_first(k), heads_first(v), mask=mask,
            segments=segments, block=self.block, transformer_options=transformer_options,
        )  # fmt: skip
        mlp = gelu_of(self.proj_mlp, tokens)
        return add_gated(x, gate, self.proj_out(torch.cat((attended, mlp), dim=2)))


class LastBlock(SingleBlock):
    """A SingleBlock that is mostly asked for some tokens alone.

    It is a class of its own for compilers, which compile a forward for all blocks that share it, and give up on one after
    some variants.
    """

    def forward(self, **arguments: Any) -> Tensor:
        """As `SingleBlock.forward`."""
        return super().forward(**arguments)
