"""Attention over the joint sequence: where its parts lie, and the function that every block calls.

The joint sequence holds the packed past, the noisy window, the image tokens and the text tokens, in this order. Every
block calls one injected AttentionFunction, so that a host can bring its own kernel, and so that a gate can be put around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import Block

# The segments of the packed past, and all segments of the joint sequence in order.
PAST = ("4x", "2x", "start", "last")
SEGMENT_NAMES = (*PAST, "noisy", "image", "text")


@dataclass(frozen=True)
class Segments:
    """Where each part of the joint sequence lies: a token count for each of SEGMENT_NAMES, 0 where it is absent."""

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
        """How many tokens the joint sequence has."""
        return sum(self.lengths)

    def span(self, name: str) -> slice:
        """The token range of a segment; raises ValueError for an unknown name."""
        if name not in SEGMENT_NAMES:
            raise ValueError(f"unknown segment {name!r}; expected one of {SEGMENT_NAMES}")
        place = SEGMENT_NAMES.index(name)
        start = sum(self.lengths[:place])
        return slice(start, start + self.lengths[place])

    def items(self) -> Iterator[tuple[str, slice]]:
        """(name, token range) of the segments that are present, in order."""
        return ((name, self.span(name)) for name, length in zip(SEGMENT_NAMES, self.lengths) if length)

    def first_query(self, queries: int) -> int:
        """The token at which a block's queries begin, from how many there are.

        Blocks ask for all tokens, except the last one, which asks for the noisy window alone.
        """
        return 0 if queries == self.length else self.span("noisy").start


def bool_mask(mask: Tensor, device: torch.device) -> Tensor:
    """A mask of any dtype as bool on a device: True where it is not 0."""
    return mask.to(device) != 0


def key_mask(text_mask: Tensor | None, segments: Segments) -> Tensor | None:
    """Which keys of the joint sequence may be attended: the text's mask [B, L] -> [B, 1, 1, L_joint]."""
    if text_mask is None:
        return None
    others = text_mask.new_ones(text_mask.shape[0], segments.length - text_mask.shape[1])
    return torch.cat((others, text_mask), dim=1)[:, None, None]


class AttentionFunction(Protocol):
    """attention(q, k, v, ...) over the joint sequence -> [B, Lq, H * D].

    q [B, H, Lq, D] belongs to some tokens of the joint sequence, k and v [B, H, Lk, D] to all of them. mask [B, 1, 1, Lk] is
    bool (True: may be attended) or None; block is ("double" | "single", index); transformer_options are the forward's.
    """

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        mask: Tensor | None,
        segments: Segments,
        block: Block,
        transformer_options: Mapping[str, Any],
    ) -> Tensor: ...


# attend(q, k, v, mask=, transformer_options=) of text tokens to each other, before they join the sequence: three times
# [B, H, L, D] -> [B, L, H * D]. mask [B, 1, L, L] is bool (True: may be attended) or None.
TextAttention = Callable[..., Tensor]


def sdpa_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    segments: Segments | None = None,
    block: Block | None = None,
    transformer_options: Mapping[str, Any] | None = None,
) -> Tensor:
    """Attention by torch's scaled_dot_product_attention: an AttentionFunction or TextAttention, of which only the mask matters."""
    return heads_together(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


def heads_together(x: Tensor) -> Tensor:
    """[B, H, L, D] to [B, L, H * D]."""
    return x.transpose(1, 2).flatten(2)
