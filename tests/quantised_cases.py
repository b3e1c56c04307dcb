"""Checkpoints in every quantised layout, made with numpy alone, and the numbers that they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
FP8, FP8_MAX = torch.float8_e4m3fn, 448.0


def matrices(weights: Weights) -> list[str]:
    """What quantisers take: the matrices of linear layers in whole blocks, but for the last projection."""
    return [
        name
        for name, value in weights.items()
        if value.ndim == 2 and value.shape[1] % 32 == 0 and not name.startswith("proj_out.")
    ]


def in_fp8(weight: np.ndarray, scale: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """The stored numbers, and what they stand for by numpy."""
    stored = torch.from_numpy((weight / scale).astype(np.float32)).to(FP8)
    return stored, stored.float().numpy() * scale


def per_tensor(name: str, weight: np.ndarray, ends: tuple[str, ...]) -> tuple[Weights, np.ndarray]:
    scale = np.float32(abs(weight).max() / FP8_MAX)
    stored, stands_for = in_fp8(weight, scale)
    return {name: stored, **{name.replace("weight", end): torch.tensor(scale) for end in ends}}, stands_for


def scaled_fp8(name: str, weight: np.ndarray) -> tuple[Weights, np.ndarray]:
    return per_tensor(name, weight, ("scale_weight", "scale_input"))


def comfy(packing: str) -> Tensor:
    return torch.tensor(list(json.dumps({"format": packing}).encode()), dtype=torch.uint8)


def comfy_fp8(name: str, weight: np.ndarray) -> tuple[Weights, np.ndarray]:
    tensors, stands_for = per_tensor(name, weight, ("weight_scale",))
    return {**tensors, name.replace("weight", "comfy_quant"): comfy("float8_e4m3fn")}, stands_for


def comfy_int8(name: str, weight: np.ndarray) -> tuple[Weights, np.ndarray]:
    scale = abs(weight).max(axis=1, keepdims=True).astype(np.float32) / 127
    stored = np.rint(weight / scale).astype(np.int8)
    module = name.removesuffix("weight")
    tensors = {
        f"{module}weight_scale": torch.from_numpy(scale),
        f"{module}comfy_quant": comfy("int8_tensorwise"),
    }
    return {name: torch.from_numpy(stored), **tensors}, stored * scale


def musubi_rows(name: str, weight: np.ndarray) -> tuple[Weights, np.ndarray]:
    scale = abs(weight).max(axis=1, keepdims=True).astype(np.float32) / FP8_MAX
    stored, stands_for = in_fp8(weight, scale)
    return {name: stored, name.replace("weight", "scale_weight"): torch.from_numpy(scale)}, stands_for


def musubi_blocks(name: str, weight: np.ndarray) -> tuple[Weights, np.ndarray]:
    blocks = weight.reshape(weight.shape[0], -1, 16)
    scale = abs(blocks).max(axis=2, keepdims=True).astype(np.float32) / FP8_MAX
    stored, stands_for = in_fp8(blocks, scale)
    whole = np.float32(scale.max())
    return {
        name: stored.reshape(weight.shape),
        name.replace("weight", "scale_weight"): torch.from_numpy(scale / whole),
        name.replace("weight", "scale_weight_tensor"): torch.tensor([whole]),
    }, stands_for.reshape(weight.shape)


def tiled(scales: np.ndarray) -> np.ndarray:
    """Scales in the order of cuBLAS, element by element."""
    rows, columns = -(-scales.shape[0] // 128) * 128, -(-scales.shape[1] // 4) * 4
    stored = np.zeros(rows * columns, scales.dtype)
    for (row, column), value in np.ndenumerate(scales):
        tile = row // 128 * (columns // 4) + column // 4
        stored[tile * 512 + row % 32 * 16 + row % 128 // 32 * 4 + column % 4] = value
    return stored.reshape(rows, columns)


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def nvfp4(name: str, weight: np.ndarray) -> tuple[Weights, np.ndarray]:
    whole = np.float32(abs(weight).max() / (FP8_MAX * 6))
    blocks = weight.reshape(weight.shape[0], -1, 16)
    scales = torch.from_numpy(abs(blocks).max(axis=2) / 6 / whole).to(FP8)
    steps = np.maximum(scales.float().numpy()[..., None], 1e-12) * whole
    codes = abs(abs(blocks / steps)[..., None] - E2M1).argmin(axis=-1)
    stands_for = np.sign(blocks) * E2M1[codes] * scales.float().numpy()[..., None] * whole
    codes = (codes + 8 * (blocks < 0)).reshape(weight.shape).astype(np.uint8)
    module = name.removesuffix("weight")
    return {
        name: torch.from_numpy(codes[:, 0::2] << 4 | codes[:, 1::2]),
        f"{module}weight_scale": torch.from_numpy(tiled(scales.view(torch.uint8).numpy())).view(FP8),
        f"{module}weight_scale_2": torch.tensor(whole),
        f"{module}comfy_quant": comfy("nvfp4"),
    }, stands_for.reshape(weight.shape)


def mxfp8(name: str, weight: np.ndarray) -> tuple[Weights, np.ndarray]:
    blocks = weight.reshape(weight.shape[0], -1, 32)
    exponents = np.ceil(np.log2(np.maximum(abs(blocks).max(axis=2), 1e-30) / FP8_MAX)).clip(-127, 127)
    stored, stands_for = in_fp8(blocks, np.exp2(exponents)[..., None].astype(np.float32))
    module = name.removesuffix("weight")
    return {
        name: stored.reshape(weight.shape),
        f"{module}weight_scale": torch.from_numpy(tiled((exponents + 127).astype(np.uint8))),
        f"{module}comfy_quant": comfy("mxfp8"),
    }, stands_for.reshape(weight.shape)


# How far a prediction may be from the unquantised model's, relative to its size: the format's rounding.
LAYOUTS: dict[str, tuple[Callable[[str, np.ndarray], tuple[Weights, np.ndarray]], float]] = {
    "scaled_fp8": (scaled_fp8, 0.1),
    "musubi_rows": (musubi_rows, 0.1),
    "musubi_blocks": (musubi_blocks, 0.1),
    "comfy_fp8": (comfy_fp8, 0.1),
    "comfy_int8": (comfy_int8, 0.03),
    "mxfp8": (mxfp8, 0.1),
    "nvfp4": (nvfp4, 0.4),
}


def quantise(dit: nn.Module, kind: str) -> tuple[Weights, Weights]:
    """The tensors of a file in one of LAYOUTS, and the plain weights that they stand for."""
    layout, _ = LAYOUTS[kind]
    stored: Weights = dict(dit.state_dict())
    plain: Weights = dict(dit.state_dict())
    for name in matrices(plain):
        tensors, stands_for = layout(name, plain[name].numpy())
        stored.update({key: value.contiguous() for key, value in tensors.items()})
        plain[name] = torch.from_numpy(stands_for.astype(np.float32))
    return stored, plain


def half_bytes(values: np.ndarray) -> np.ndarray:
    """Numbers [blocks, 1] as half-precision floats in bytes [blocks, 2]."""
    return values.astype("<f2").view(np.uint8)


def rounded(values: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.rint(values).clip(low, high).astype(np.int8 if low < 0 else np.uint8)


def steps_of(largest: np.ndarray, codes: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the largest number of each group [blocks, groups]: what is stored once a block, and the codes of the groups."""
    unit = np.maximum(largest.max(axis=1, keepdims=True) / codes, 1e-6).astype(np.float16)
    return unit, rounded(largest / unit, 0, codes)


def four_or_five_bits(blocks: np.ndarray, bits: int) -> np.ndarray:
    """Blocks [n, 256] as Q4_K or Q5_K: eight groups of 32 codes, with a scale and a lowest value in six bits each."""
    groups = blocks.reshape(-1, 8, 32)
    lowest = np.maximum(-groups.min(axis=2), 0)
    scale, scales = steps_of((groups.max(axis=2) + lowest) / (2**bits - 1), 63)
    low, lows = steps_of(lowest, 63)
    steps = np.maximum(scale * scales.astype(np.float32), 1e-9)[..., None]
    codes = rounded((groups + (low * lows.astype(np.float32))[..., None]) / steps, 0, 2**bits - 1)
    pairs = (codes & 15).reshape(-1, 4, 2, 32)
    parts = [
        half_bytes(scale),
        half_bytes(low),
        scales[:, :4] | (scales[:, 4:] >> 4) << 6,
        lows[:, :4] | (lows[:, 4:] >> 4) << 6,
        (scales[:, 4:] & 15) | (lows[:, 4:] & 15) << 4,
    ]
    if bits == 5:
        parts.append(np.bitwise_or.reduce((codes >> 4) << np.arange(8, dtype=np.uint8)[:, None], axis=1))
    return np.concatenate([*parts, (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)], axis=1)


def six_bits(blocks: np.ndarray) -> np.ndarray:
    """Blocks [n, 256] as Q6_K: sixteen groups of 16 codes, with a scale of eight bits each."""
    groups = blocks.reshape(-1, 16, 16)
    scale, scales = steps_of(abs(groups).max(axis=2) / 31, 127)
    steps = np.maximum(scale * scales.astype(np.float32), 1e-9)[..., None]
    codes = (rounded(groups / steps, -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = (codes & 15)[:, :, :2] | (codes & 15)[:, :, 2:] << 4
    high = np.bitwise_or.reduce((codes >> 4) << np.arange(0, 8, 2, dtype=np.uint8)[:, None], axis=2)
    return np.concatenate([low.reshape(-1, 128), high.reshape(-1, 64), scales, half_bytes(scale)], axis=1)


# The package writes no K-quants.
K_QUANTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Q4_K": lambda blocks: four_or_five_bits(blocks, 4),
    "Q5_K": lambda blocks: four_or_five_bits(blocks, 5),
    "Q6_K": six_bits,
}


def in_gguf(packing: str, weight: np.ndarray) -> np.ndarray:
    """A matrix in a packing of GGUF: bytes [rows, bytes of a row]."""
    import gguf

    if packing in K_QUANTS:
        return K_QUANTS[packing](weight.reshape(-1, 256)).reshape(weight.shape[0], -1)
    return gguf.quantize(weight, gguf.GGMLQuantizationType[packing])


def write_gguf(path: Path, dit: Any, *packings: str, **changes: np.ndarray) -> Weights:
    """Writes a model, its matrices in turn in those of the packings whose blocks fit their columns.

    Gives the plain weights that it stands for, by the package.
    """
    import gguf

    kinds = [gguf.GGMLQuantizationType[packing] for packing in packings]
    writer, plain = gguf.GGUFWriter(path, "framepack"), dict(dit.state_dict())
    writer.add_string("framepack_config", dit.config.to_json())
    for name, value in plain.items():
        data = changes.get(name, value.numpy())
        fitting = (kind for kind in kinds if data.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0)
        kind = next(fitting, None) if data.ndim == 2 and not name.startswith("proj_out.") else None
        if kind is not None:
            stored = in_gguf(kind.name, data)
            plain[name] = torch.from_numpy(gguf.dequantize(stored, kind).copy())
            writer.add_tensor(name, stored, raw_dtype=kind)
            kinds.append(kinds.pop(kinds.index(kind)))
        elif data.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(data.shape))
            writer.add_tensor(name, data.reshape(data.shape[0], -1))
        else:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return plain
