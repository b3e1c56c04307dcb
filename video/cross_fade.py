"""Joins clips that overlap."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_append(first: Tensor, second: Tensor, overlap: int, dim: int = 0) -> Tensor:
    """Join two clips; the last `overlap` frames of `first` cross-fade linearly into the first of `second`.

    The weights run from 1 to 0 inclusive, as upstream's `soft_append_bcthw`. Raises ValueError when a clip is shorter
    than the overlap.
    """
    if overlap <= 0:
        return torch.cat([first, second], dim=dim)
    if min(first.shape[dim], second.shape[dim]) < overlap:
        raise ValueError(
            f"cannot blend {overlap} frames of clips with {first.shape[dim]} and {second.shape[dim]} frames."
        )
    shape = [1] * first.ndim
    shape[dim] = overlap
    weight = torch.linspace(1, 0, overlap, dtype=first.dtype, device=first.device).view(shape)
    kept, tail = torch.split(first, [first.shape[dim] - overlap, overlap], dim=dim)
    head, rest = torch.split(second, [overlap, second.shape[dim] - overlap], dim=dim)
    return torch.cat([kept, weight * tail + (1 - weight) * head, rest], dim=dim)
