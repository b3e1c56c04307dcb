"""In which precision is trained: bfloat16 where a device is quick at it."""

from __future__ import annotations

import torch


def bears_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16, and not slower than in float32.

    A CPU without AVX-512 has no products of it: there they take twenty times as long.
    """
    if device.type == "cpu":
        return torch.backends.cpu.get_cpu_capability() == "AVX512"
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def autocast(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Computes in bfloat16 inside of the block where that is `wanted` and the device bears it."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted and bears_bfloat16(device))
