"""The host's fused rotation of queries and keys: comfy-kitchen's, where it has a kernel for the device."""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from .layers.rope import PLAIN_ROTATION, Rotation, apply_rope

logger = logging.getLogger(__name__)

HALF = (torch.float16, torch.bfloat16)
# Its backends with kernels of their own, by the kind of device; its others are slower than complex numbers.
FUSED_BACKENDS: dict[str, tuple[str, ...]] = {"cuda": ("cuda", "hip", "triton"), "xpu": ("triton",)}


def host_rotation() -> Rotation:
    """The host's rotation, which falls back to the pack's own where it has no kernel; ours on hosts that have none."""
    try:
        from comfy import quant_ops
    except ImportError:
        return PLAIN_ROTATION
    kitchen = getattr(quant_ops, "ck", None)
    if not hasattr(kitchen, "apply_rope1"):
        return PLAIN_ROTATION
    return Rotation(prepare=partial(_prepare, kitchen), apply=partial(_apply, kitchen))


def _prepare(kitchen: Any, pe: Tensor, dtype: torch.dtype) -> Tensor:
    """Matrices for the fused kernel, or the rotations as they are, where heads turn differently or there is none."""
    if torch.compiler.is_compiling() or pe.ndim == 5 or dtype not in HALF:
        return pe
    return rotation_matrices(pe) if kernel_works(kitchen, pe.device.type, dtype) else pe


def _apply(kitchen: Any, x: Tensor, table: Tensor) -> Tensor:
    if table.ndim != 6:
        return apply_rope(x, table)
    rotated: Tensor = kitchen.apply_rope1(x, table)
    return rotated


def rotation_matrices(pe: Tensor) -> Tensor:
    """[B, L, D / 2, 2] cosines and sines to [B, L, 1, D / 2, 2, 2], rows (cos, -sin) and (sin, cos)."""
    cos, sin = pe.unsqueeze(2).unbind(-1)
    return torch.unflatten(torch.stack((cos, -sin, sin, cos), dim=-1), -1, (2, 2))


@cache
def kernel_works(kitchen: Any, device: str, dtype: torch.dtype) -> bool:
    """Whether there is a fused kernel for this kind of device that rotates as ours does; tried once for each dtype."""
    backends = kitchen.list_backends()
    if not any(_offers(backends.get(name, {})) for name in FUSED_BACKENDS.get(device, ())):
        return False
    x, pe = _trial()
    expected = apply_rope(x.to(dtype), pe)
    try:
        with torch.inference_mode():
            rotated = kitchen.apply_rope1(x.to(device, dtype), rotation_matrices(pe.to(device))).cpu()
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        logger.warning("comfy-kitchen's rotation cannot be used here: %s", error)
        return False
    works = rotated.dtype == dtype and torch.allclose(rotated.float(), expected.float(), atol=0.02, rtol=0.02)
    if not works:
        logger.warning(
            "comfy-kitchen's rotation gives other values than expected here; ours is used instead."
        )
    return works


def _offers(backend: dict[str, Any]) -> bool:
    ready = backend.get("available") and not backend.get("disabled")
    return bool(ready) and "apply_rope1" in backend.get("capabilities", ())


def _trial() -> tuple[Tensor, Tensor]:
    """An x [1, 5, 2, 16] and rotations [1, 5, 8, 2] that are always the same."""
    angles = torch.arange(40, dtype=torch.float32).view(1, 5, 8)
    x = (1.3 * torch.arange(160, dtype=torch.float32)).sin().view(1, 5, 2, 16)
    return x, torch.stack((angles.cos(), angles.sin()), dim=-1)
