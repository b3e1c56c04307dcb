"""The one place where the joint sequence attends, and what it is told about that sequence.

Every block calls one injected function, so that a host can bring its own kernel and a gate can weigh the
parts of the context against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

SEGMENT_NAMES = ("4x", "2x", "start", "last", "noisy", "image", "text")


@dataclass(frozen=True)
class Segments:
    """Where each part of the joint sequence lies: a token count per name of SEGMENT_NAMES, 0 where absent."""

    lengths: tuple[int, ...]

    @classmethod
    def of(cls, lengths: Mapping[str, int]) -> Segments:
        """Segments from counts by name; raises ValueError for a name that is none of SEGMENT_NAMES."""
        unknown = set(lengths) - set(SEGMENT_NAMES)
        if unknown:
            raise ValueError(f"unknown segments {sorted(unknown)}; expected some of {SEGMENT_NAMES}")
        return cls(tuple(lengths.get(name, 0) for name in SEGMENT_NAMES))

    @property
    def length(self) -> int:
        return sum(self.lengths)

    def slice(self, name: str) -> slice:
        """The token range of a segment; raises ValueError for an unknown name."""
        if name not in SEGMENT_NAMES:
            raise ValueError(f"unknown segment {name!r}; expected one of {SEGMENT_NAMES}")
        place = SEGMENT_NAMES.index(name)
        start = sum(self.lengths[:place])
        return slice(start, start + self.lengths[place])

    def items(self) -> Iterator[tuple[str, slice]]:
        """(name, token range) of the segments that are present, in order."""
        return ((name, self.slice(name)) for name, length in zip(SEGMENT_NAMES, self.lengths) if length)


class AttentionFunction(Protocol):
    """attention(q, k, v, ...) over the joint sequence -> [B, Lq, H * D].

    q [B, H, Lq, D], k and v [B, H, Lk, D]; mask [B, 1, 1, Lk] bool (True = may be attended) or None;
    rows = the token range that the queries are, None for all; block = ("double" | "single", index).
    """

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        mask: Tensor | None,
        segments: Segments,
        rows: slice | None,
        block: tuple[str, int],
        transformer_options: Mapping[str, Any],
    ) -> Tensor: ...


def sdpa_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    segments: Segments | None = None,
    rows: slice | None = None,
    block: tuple[str, int] | None = None,
    transformer_options: Mapping[str, Any] | None = None,
) -> Tensor:
    """Plain attention by torch's scaled_dot_product_attention: an AttentionFunction."""
    x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return rearrange(x, "b h l d -> b l (h d)")
