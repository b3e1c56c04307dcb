"""GGUF's blocks of quantised numbers (ggml-quants in llama.cpp) to floats, in torch.

A weight is stored as bytes [rows, bytes of a row]; a row is a run of blocks, and each block holds its scales and
its numbers. Tests compare every packing with the gguf package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def unpack_gguf(packing: str, stored: Tensor) -> Tensor:
    """The weight [rows, columns] in float32 of bytes [rows, bytes of a row]."""
    block = GGUF_BLOCKS[packing]
    values = block.unpack(stored.reshape(-1, block.size))
    return values.reshape(stored.shape[0], -1)


def halves(stored: Tensor) -> Tensor:
    """Bytes [blocks, 2 n] as n half-precision floats, in float32."""
    return stored.contiguous().view(torch.float16).float()


def nibbles(stored: Tensor) -> Tensor:
    """Bytes [..., n] as numbers 0 to 15 [..., 2, n]: first all low halves, then all high ones."""
    return torch.stack([stored & 15, stored >> 4], dim=-2)


def bits(stored: Tensor, width: int) -> Tensor:
    """Bytes [..., n] as numbers of `width` bits [..., 8 / width, n], the lowest bits first."""
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=stored.device)
    shifted: Tensor = stored[..., None, :] >> shifts[:, None]
    return torch.bitwise_and(shifted, 2**width - 1)


def cut(blocks: Tensor, *sizes: int) -> tuple[Tensor, ...]:
    """Blocks [n, bytes] cut into fields of these sizes; the last one takes the rest."""
    return torch.split_with_sizes(blocks, [*sizes, blocks.shape[1] - sum(sizes)], dim=1)


def q4_0(blocks: Tensor) -> Tensor:
    """Blocks of 32 numbers: scale * (4 bits - 8)."""
    scale, codes = cut(blocks, 2)
    return halves(scale) * (nibbles(codes).flatten(1).float() - 8)


def q4_1(blocks: Tensor) -> Tensor:
    """Blocks of 32 numbers: scale * 4 bits + lowest."""
    scale, low, codes = cut(blocks, 2, 2)
    return halves(scale) * nibbles(codes).flatten(1).float() + halves(low)


def fifth_bits(stored: Tensor) -> Tensor:
    """Four bytes as 32 highest bits, each worth 16."""
    shifts = torch.arange(8, dtype=torch.uint8, device=stored.device)
    return ((stored[..., None] >> shifts) & 1).flatten(1) << 4


def q5_0(blocks: Tensor) -> Tensor:
    """Blocks of 32 numbers: scale * (5 bits - 16)."""
    scale, high, codes = cut(blocks, 2, 4)
    return halves(scale) * ((nibbles(codes).flatten(1) | fifth_bits(high)).float() - 16)


def q5_1(blocks: Tensor) -> Tensor:
    """Blocks of 32 numbers: scale * 5 bits + lowest."""
    scale, low, high, codes = cut(blocks, 2, 2, 4)
    return halves(scale) * (nibbles(codes).flatten(1) | fifth_bits(high)).float() + halves(low)


def q8_0(blocks: Tensor) -> Tensor:
    """Blocks of 32 numbers: scale * 8 bits, signed."""
    scale, codes = cut(blocks, 2)
    return halves(scale) * codes.contiguous().view(torch.int8).float()


def q2_k(blocks: Tensor) -> Tensor:
    """Sixteen groups of 16 numbers: 2 bits, with a scale and a lowest value of 4 bits for each group."""
    scales, codes, scale, low = cut(blocks, 16, 64, 2)
    steps = halves(scale) * (scales & 15).float()
    lows = halves(low) * (scales >> 4).float()
    values = bits(codes.reshape(-1, 2, 32), 2).reshape(-1, 16, 16).float()
    return (steps[..., None] * values - lows[..., None]).flatten(1)


def q3_k(blocks: Tensor) -> Tensor:
    """Sixteen groups of 16 numbers: 3 bits, with a scale of 6 bits for each group."""
    mask, codes, scales, scale = cut(blocks, 32, 64, 12)
    low = nibbles(scales[:, :8]).flatten(1)
    high = bits(scales[:, 8:], 2).flatten(1)
    steps = halves(scale) * ((low | (high << 4)).float() - 32)
    values = bits(codes.reshape(-1, 2, 32), 2).reshape(-1, 16, 16).float()
    # A bit that is not set takes 4 away.
    missing = (bits(mask, 1).reshape(-1, 16, 16) ^ 1).float() * 4
    return (steps[..., None] * (values - missing)).flatten(1)


def six_bit_scales(stored: Tensor) -> tuple[Tensor, Tensor]:
    """Twelve bytes as the eight scales and eight lows, of six bits each, of Q4_K and Q5_K."""
    first, second, third = stored.reshape(-1, 3, 4).unbind(1)
    scales = torch.cat([first & 63, (third & 15) | ((first >> 2) & 48)], dim=1)
    lows = torch.cat([second & 63, (third >> 4) | ((second >> 2) & 48)], dim=1)
    return scales.float(), lows.float()


def q4_k(blocks: Tensor) -> Tensor:
    """Eight groups of 32 numbers: 4 bits, with a scale and a lowest value of 6 bits for each group."""
    scale, low, packed, codes = cut(blocks, 2, 2, 12)
    steps, lows = six_bit_scales(packed)
    values = nibbles(codes.reshape(-1, 4, 32)).reshape(-1, 8, 32).float()
    return ((halves(scale) * steps)[..., None] * values - (halves(low) * lows)[..., None]).flatten(1)


def q5_k(blocks: Tensor) -> Tensor:
    """Eight groups of 32 numbers: 5 bits, with a scale and a lowest value of 6 bits for each group."""
    scale, low, packed, high, codes = cut(blocks, 2, 2, 12, 32)
    steps, lows = six_bit_scales(packed)
    values = nibbles(codes.reshape(-1, 4, 32)).reshape(-1, 8, 32) | (bits(high, 1).reshape(-1, 8, 32) << 4)
    return ((halves(scale) * steps)[..., None] * values.float() - (halves(low) * lows)[..., None]).flatten(1)


def q6_k(blocks: Tensor) -> Tensor:
    """Sixteen groups of 16 numbers: 6 bits, with a scale of 8 bits for each group."""
    low, high, scales, scale = cut(blocks, 128, 64, 16)
    codes = nibbles(low.reshape(-1, 2, 64)).reshape(-1, 8, 32)
    values = (codes | (bits(high.reshape(-1, 2, 32), 2).reshape(-1, 8, 32) << 4)).float() - 32
    steps = halves(scale) * scales.contiguous().view(torch.int8).float()
    return (steps[..., None] * values.reshape(-1, 16, 16)).flatten(1)


class Block(NamedTuple):
    """A packing of GGUF: how many numbers a block has, in how many bytes, and how they become floats."""

    numbers: int
    size: int
    unpack: Callable[[Tensor], Tensor]


GGUF_BLOCKS = {
    "Q4_0": Block(32, 18, q4_0),
    "Q4_1": Block(32, 20, q4_1),
    "Q5_0": Block(32, 22, q5_0),
    "Q5_1": Block(32, 24, q5_1),
    "Q8_0": Block(32, 34, q8_0),
    "Q2_K": Block(256, 84, q2_k),
    "Q3_K": Block(256, 110, q3_k),
    "Q4_K": Block(256, 144, q4_k),
    "Q5_K": Block(256, 176, q5_k),
    "Q6_K": Block(256, 210, q6_k),
}
