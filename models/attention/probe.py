"""What the window attends to, measured beside the run: shares of attention before any gate.

Nothing that the model computes with is touched, and nothing is read while it runs: tensors are summed over the blocks
and collected, so that a compiled forward stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from .blocks import Block
from .joint import PAST, AttentionFunction, Segments

# As many of the window's rows are measured, evenly spread: fewer for the shares of segments, which rows agree on within half a
# percent, than for those of single tokens. Blocks all are: neighbours attend to the past twice as much as one another. Of the
# rows' logits, as many at a time are formed as fit LOGITS_BYTES.
ROWS, ROWS_FOR_TOKENS = 128, 512
LOGITS_BYTES = 2**27
REMEMBERED = (*PAST, "image")


class Sums(Protocol):
    """What a probe sums over the blocks of one forward."""

    def add(self, q: Tensor, k: Tensor, mask: Tensor | None, segments: Segments) -> None:
        """Add what one block's queries and keys [B, H, L, D] say, with the mask of an AttentionFunction."""


class AttentionProbe(Protocol):
    """Measures something of the attention of the forwards that it is given to."""

    def start(self, segments: Segments, batch: int, device: torch.device) -> Any:
        """Empty `Sums` for a forward."""

    def finish(self, sums: Any, segments: Segments, conditionings: Sequence[int] | None) -> None:
        """Keep what a forward's blocks have added up to; `conditionings` are those of the chunks of its batch."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ShareSums:
    """One forward's sums over its blocks.

    rows: the tokens of the window that are measured, int64 [R].
    segments: each segment's share of attention, [B, segments].
    tokens: each remembered token's share, [B, remembered tokens]; None where only segments are asked for.
    """

    rows: Tensor
    segments: Tensor
    tokens: Tensor | None

    def add(self, q: Tensor, k: Tensor, mask: Tensor | None, segments: Segments) -> None:
        """Add what the measured rows attend to in one block, without a gate."""
        queries = q.index_select(2, self.rows - segments.first_query(q.shape[2]))
        shares = key_shares(queries, k, mask)
        lengths = [span.stop - span.start for _, span in segments.items()]
        parts = [part.sum(dim=1) for part in torch.split(shares, lengths, dim=1)]
        self.segments.add_(torch.stack(parts, dim=1))
        if self.tokens is not None and self.tokens.shape[1]:
            self.tokens.add_(torch.cat([shares[:, span] for _, span in _remembered(segments)], dim=1))


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionShares:
    """Where one forward's attention goes: means over measured rows, heads and blocks.

    segments: where the parts of the joint sequence lie.
    of_segments: each present segment's share, [B, segments].
    of_tokens: each token's share [B, L] for every remembered segment; None where only segments were asked for.
    conditionings: which conditioning each chunk of the batch belongs to, where the host evaluates several in one batch.
    """

    segments: Segments
    of_segments: Tensor
    of_tokens: Mapping[str, Tensor] | None
    conditionings: tuple[int, ...] | None

    def of_first_conditioning(self) -> AttentionShares | None:
        """The part of conditioning 0; None where this forward did not evaluate it."""
        if self.conditionings is None:
            return self
        if 0 not in self.conditionings:
            return None
        size = self.of_segments.shape[0] // len(self.conditionings)
        start = self.conditionings.index(0) * size
        tokens = self.of_tokens and {
            name: part[start : start + size] for name, part in self.of_tokens.items()
        }
        return AttentionShares(
            segments=self.segments,
            of_segments=self.of_segments[start : start + size],
            of_tokens=tokens,
            conditionings=None,
        )


@dataclass(eq=False)
class Probe:
    """Collects the shares of the forwards that it is given to.

    tokens: whether every remembered token's share is measured too.
    measured: one entry for each forward, in order.
    """

    tokens: bool = False
    measured: list[AttentionShares] = field(default_factory=list)

    def start(self, segments: Segments, batch: int, device: torch.device) -> ShareSums:
        """Empty sums for a forward."""
        noisy = segments.span("noisy")
        count = min(ROWS_FOR_TOKENS if self.tokens else ROWS, noisy.stop - noisy.start)
        remembered = sum(span.stop - span.start for _, span in _remembered(segments))
        return ShareSums(
            rows=torch.linspace(noisy.start, noisy.stop - 1, count, device=device).round().long(),
            segments=torch.zeros(batch, sum(1 for _ in segments.items()), device=device),
            tokens=torch.zeros(batch, remembered, device=device) if self.tokens else None,
        )

    def finish(self, sums: ShareSums, segments: Segments, conditionings: Sequence[int] | None) -> None:
        """Keep a forward's means. Every block has added shares that sum to 1, which counts the blocks."""
        blocks = sums.segments.sum(dim=1, keepdim=True)
        shares = AttentionShares(
            segments=segments,
            of_segments=sums.segments / blocks,
            of_tokens=None if sums.tokens is None else _by_segment(sums.tokens / blocks, segments),
            conditionings=None if conditionings is None else tuple(conditionings),
        )
        self.measured.append(shares)


def with_probe(attention: AttentionFunction, sums: Sums) -> AttentionFunction:
    """The same attention, which also adds to the sums what its queries and keys say before any gate."""
    return partial(_attend_and_measure, attention=attention, sums=sums)


def _attend_and_measure(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    attention: AttentionFunction,
    sums: Sums,
    mask: Tensor | None,
    segments: Segments,
    block: Block,
    transformer_options: Mapping[str, Any],
) -> Tensor:
    sums.add(q, k, mask, segments)
    return attention(
        q, k, v, mask=mask, segments=segments, block=block, transformer_options=transformer_options
    )


def key_shares(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean probability float32 [B, Lk] that keys [B, H, Lk, D] get from queries [B, H, Lq, D], over rows and heads."""
    step = max(1, LOGITS_BYTES // (4 * q.shape[0] * q.shape[1] * k.shape[2]))
    keys: Tensor = k.float().transpose(-1, -2)
    total: Tensor = keys.new_zeros(k.shape[0], k.shape[2])
    for part in torch.split(q, step, dim=2):
        logits = (part.float() * q.shape[-1] ** -0.5) @ keys
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        total = total + torch.softmax(logits, dim=-1).sum(dim=2).mean(dim=1)
    return total / q.shape[2]


def _by_segment(tokens: Tensor, segments: Segments) -> dict[str, Tensor]:
    """Values of all remembered tokens [B, L] by segment."""
    spans = dict(_remembered(segments))
    parts = torch.split(tokens, [span.stop - span.start for span in spans.values()], dim=1)
    return dict(zip(spans, parts))


def _remembered(segments: Segments) -> list[tuple[str, slice]]:
    return [(name, span) for name, span in segments.items() if name in REMEMBERED]
