"""The attention of a forward's blocks, as the forward's options want it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .gate import with_policy
from .joint import AttentionFunction, Segments
from .kv_mask import with_kv_mask
from .probe import Sums, with_probe
from .rows import in_rows


def with_options(
    attention: AttentionFunction,
    transformer_options: Mapping[str, Any],
    segments: Segments,
    sums: Sums | None = None,
) -> AttentionFunction:
    """`attention` for some rows at a time, gated, and blind to keys where the options say so; with `sums` measured too."""
    rows = transformer_options.get("framepack_attention_rows")
    policy = transformer_options.get("framepack_attention")
    attention = with_policy(in_rows(attention, rows), policy, rows)
    if sums is not None:
        attention = with_probe(attention, sums)
    return with_kv_mask(attention, transformer_options.get("framepack_kv_mask"), segments)
