"""What the window attends to, measured beside the run: shares of attention before any gate.

Nothing that the model computes with is touched, and nothing is read while it runs: tensors are summed over the blocks
and collected, so that a compiled forward stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .gate import PAST
from .joint import AttentionFunction, Segments

# As many of the window's rows ask, evenly spread; of their logits, as many rows at a time are formed as fit LOGITS_BYTES.
ROWS = 512
LOGITS_BYTES = 2**27
REMEMBERED = (*PAST, "image")


@dataclass(frozen=True, eq=False)
class Tally:
    """One forward's sums over its blocks: `shares` [B, segments] and, where asked for, `received` [B, remembered tokens]."""

    rows: Tensor
    shares: Tensor
    received: Tensor | None


@dataclass(frozen=True, eq=False)
class Reading:
    """Means over rows, heads and blocks of one forward: the share of attention of each segment, and of each remembered token.

    shares [B, segments]; received has [B, L] for each remembered segment or is None; `chunks` says, where the host
    evaluates several conditionings as one batch, which of them each part of the batch belongs to.
    """

    segments: Segments
    shares: Tensor
    received: Mapping[str, Tensor] | None
    chunks: tuple[int, ...] | None

    def of_first(self) -> Reading | None:
        """The part of the first conditioning; None where this forward did not evaluate it."""
        if self.chunks is None:
            return self
        if 0 not in self.chunks:
            return None
        size, place = self.shares.shape[0] // len(self.chunks), self.chunks.index(0)
        rows = slice(place * size, (place + 1) * size)
        received = self.received and {name: part[rows] for name, part in self.received.items()}
        return Reading(self.segments, self.shares[rows], received, None)


@dataclass(eq=False)
class Probe:
    """Collects what forwards read; `tokens` asks for every remembered token's share too."""

    tokens: bool = False
    readings: list[Reading] = field(default_factory=list)

    def tally(self, segments: Segments, batch: int, device: torch.device) -> Tally:
        """Empty sums for a forward."""
        noisy = segments.slice("noisy")
        count = min(ROWS, noisy.stop - noisy.start)
        rows = torch.linspace(noisy.start, noisy.stop - 1, count, device=device).round().long()
        shares = torch.zeros(batch, sum(1 for _ in segments.items()), device=device)
        remembered = sum(place.stop - place.start for _, place in _remembered(segments))
        received = torch.zeros(batch, remembered, device=device) if self.tokens else None
        return Tally(rows, shares, received)

    def read(self, tally: Tally, segments: Segments, chunks: Sequence[int] | None) -> None:
        """Collect a forward's means."""
        # Every block adds shares that sum to 1.
        blocks = tally.shares.sum(dim=1, keepdim=True)
        received = None
        if tally.received is not None:
            names, places = zip(*_remembered(segments)) if tally.received.shape[1] else ((), ())
            parts = (tally.received / blocks).split([place.stop - place.start for place in places], dim=1)
            received = dict(zip(names, parts))
        shares = tally.shares / blocks
        self.readings.append(Reading(segments, shares, received, None if chunks is None else tuple(chunks)))


def watched(attention: AttentionFunction, tally: Tally) -> AttentionFunction:
    """The same attention, which also adds to the tally what the window's rows would attend to without a gate."""
    return partial(_watch, attention, tally)


def _watch(
    attention: AttentionFunction,
    tally: Tally,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None,
    segments: Segments,
    rows: slice | None,
    block: tuple[str, int],
    transformer_options: Mapping[str, Any],
) -> Tensor:
    asking = q.index_select(2, tally.rows if rows is None else tally.rows - rows.start)
    received = key_shares(asking, k, mask)
    lengths = [place.stop - place.start for _, place in segments.items()]
    tally.shares.add_(torch.stack([part.sum(dim=1) for part in received.split(lengths, dim=1)], dim=1))
    if tally.received is not None and tally.received.shape[1]:
        tally.received.add_(torch.cat([received[:, place] for _, place in _remembered(segments)], dim=1))
    return attention(
        q, k, v, mask=mask, segments=segments, rows=rows, block=block, transformer_options=transformer_options
    )


def key_shares(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean probability float32 [B, Lk] that keys [B, H, Lk, D] get from queries [B, H, Lq, D], over rows and heads."""
    step = max(1, LOGITS_BYTES // (4 * q.shape[0] * q.shape[1] * k.shape[2]))
    keys, total = k.float().transpose(-1, -2) * q.shape[-1] ** -0.5, 0
    for part in q.split(step, dim=2):
        logits = part.float() @ keys
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        total = total + torch.softmax(logits, dim=-1).sum(dim=2).mean(dim=1)
    return total / q.shape[2]


def _remembered(segments: Segments) -> list[tuple[str, slice]]:
    return [(name, place) for name, place in segments.items() if name in REMEMBERED]
