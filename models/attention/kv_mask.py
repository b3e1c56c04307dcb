"""Attention with the keys and values of some tokens set to zero."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .joint import AttentionFunction, Segments


def with_kv_mask(
    attention: AttentionFunction, kv_mask: Mapping[str, Tensor] | None, segments: Segments
) -> AttentionFunction:
    """`attention` with the keys and values of some tokens zeroed, for all queries; the same function where none is.

    `kv_mask` has 1 (kept) or 0 (zeroed) for each token of a segment, [B or 1, L]. A zero key still takes its part of the
    softmax, e^0.
    """
    masks = {name: kv_mask[name] for name, _ in segments.items() if kv_mask and name in kv_mask}
    if not masks:
        return attention
    some = next(iter(masks.values()))
    rows = max(part.shape[0] for part in masks.values())
    parts = [
        masks.get(name, torch.ones_like(some[:1, :1])).expand(rows, span.stop - span.start)
        for name, span in segments.items()
    ]
    return partial(_attend_masked, attention=attention, kept=torch.cat(parts, dim=1)[:, None, :, None])


def _attend_masked(
    q: Tensor, k: Tensor, v: Tensor, *, attention: AttentionFunction, kept: Tensor, **arguments: Any
) -> Tensor:
    """An AttentionFunction whose keys and values are multiplied by `kept` [B or 1, 1, L, 1]."""
    factor = kept.to(k.dtype).repeat(k.shape[0] // kept.shape[0], 1, 1, 1)
    return attention(q, k * factor, v * factor, **arguments)
