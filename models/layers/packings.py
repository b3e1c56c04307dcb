"""Quantised weights: from what a file stores to the numbers that it stands for.

A packing is a name and a function from parts (the stored weight and its scales, by name) to the weight
[rows, columns] in float32. GGUF's packings are in gguf_packings.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch
from torch import Tensor

from .gguf_packings import GGUF_BLOCKS, unpack_gguf

Parts = Mapping[str, Tensor]

# The values of a 4-bit float with two exponent bits and one of mantissa (OCP Microscaling Formats, 2023).
FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
SCALED = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise")
# With more than one scale; ComfyUI's own layers take one only, so this name is ours.
IN_BLOCKS = {"float8_e4m3fn": "float8_e4m3fn_blocks", "float8_e5m2": "float8_e5m2_blocks"}


def unpack(packing: str, parts: Parts) -> Tensor:
    """The weight [rows, columns] in float32 that the parts stand for."""
    if packing in GGUF_BLOCKS:
        return unpack_gguf(packing, parts["weight"])
    return UNPACKERS[packing](parts)


def unpacked_shape(packing: str, stored: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a weight [rows, columns] whose stored form has the shape `stored`."""
    if packing == "nvfp4" and len(stored) == 2:
        return (stored[0], 2 * stored[1])
    return stored


def scale_fits(packing: str, shape: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Whether scales of the shape `scale` fit a weight of the shape `shape`."""
    if len(shape) != 2:
        return False
    rows, columns = shape
    if packing in BLOCK_SIZES:
        block = BLOCK_SIZES[packing]
        return columns % block == 0 and prod(scale) == tiled_size(rows, columns // block)
    if prod(scale) == 1:
        return True
    blocks = scale[1] if len(scale) > 1 else 1
    return scale[:1] == (rows,) and prod(scale) == rows * blocks and blocks > 0 and columns % blocks == 0


def unpack_scaled(parts: Parts) -> Tensor:
    """Numbers times a scale: one for the weight, one a row, or [rows, blocks, 1] for blocks of columns.

    "scale_tensor" (musubi-tuner) multiplies block scales once more.
    """
    weight, scale = parts["weight"].float(), parts["scale"].float()
    if "scale_tensor" in parts:
        scale = scale * parts["scale_tensor"].float()
    if scale.numel() == 1:
        return weight * scale.reshape(())
    blocks = weight.reshape(weight.shape[0], scale.numel() // weight.shape[0], -1)
    return (blocks * scale.reshape(*blocks.shape[:2], 1)).reshape(weight.shape)


def unpack_nvfp4(parts: Parts) -> Tensor:
    """Two 4-bit floats a byte, the first one high; an 8-bit float a block of 16, and one scale for all."""
    stored = parts["weight"].view(torch.uint8)
    codes = torch.stack([stored >> 4, stored & 15], dim=-1).flatten(1)
    values = torch.tensor(FP4_VALUES, device=stored.device)[codes.int()]
    scales = untiled(parts["scale"].view(torch.float8_e4m3fn).float(), codes.shape[0], codes.shape[1] // 16)
    return scaled_blocks(values, scales) * parts["scale_2"].float().reshape(())


def unpack_mxfp8(parts: Parts) -> Tensor:
    """8-bit floats with a power of two (its biased exponent, 8 bits) for each block of 32 columns."""
    values = parts["weight"].float()
    exponents = untiled(parts["scale"].view(torch.uint8).float(), values.shape[0], values.shape[1] // 32)
    return scaled_blocks(values, torch.exp2(exponents - 127))


def scaled_blocks(values: Tensor, scales: Tensor) -> Tensor:
    """Values [rows, columns] times scales [rows, blocks] of equal runs of columns."""
    return (values.reshape(*scales.shape, -1) * scales[..., None]).reshape(values.shape)


def untiled(scales: Tensor, rows: int, columns: int) -> Tensor:
    """Scales [rows, columns] from cuBLAS's order: tiles of 128 rows by 4 columns, stored as 32 by 4 by 4.

    Source: "1D Block Scaling Factors Layout" in NVIDIA's cuBLAS documentation.
    """
    tiles = scales.reshape(-(-rows // 128), -(-columns // 4), 32, 4, 4)
    # tile row, tile column, row % 32, row // 32, column -> rows, columns
    plain = tiles.permute(0, 3, 2, 1, 4).reshape(128 * tiles.shape[0], 4 * tiles.shape[1])
    return plain[:rows, :columns]


def tiled_size(rows: int, columns: int) -> int:
    """How many scales cuBLAS's order stores for [rows, columns], padding included."""
    return 128 * -(-rows // 128) * 4 * -(-columns // 4)


BLOCK_SIZES = {"nvfp4": 16, "mxfp8": 32}
UNPACKERS: dict[str, Callable[[Parts], Tensor]] = {
    **dict.fromkeys((*SCALED, *IN_BLOCKS.values()), unpack_scaled),
    "nvfp4": unpack_nvfp4,
    "mxfp8": unpack_mxfp8,
}
