"""Where a concept lies in the packed past: the share of the text's attention that each remembered token pays to its words.

DiTCtrl (arXiv 2412.18597) reads such maps for the words of one prompt. Here the concept has a text of its own, in front of
another one that it competes with, so that nothing need be known of how an encoder divides a text into tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .joint import PAST, Segments
from .probe import LOGITS_BYTES


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptSums:
    """One forward's sums over its blocks.

    words: how many of the text's first tokens name the concept.
    shares: what each token of the past pays to these, of all that it pays to the text, [B, tokens of the past].
    blocks: how many blocks have been added, 0-d.
    """

    words: int
    shares: Tensor
    blocks: Tensor

    def add(self, q: Tensor, k: Tensor, mask: Tensor | None, segments: Segments) -> None:
        """Add one block's shares; the last one, which asks for the window alone, says nothing of the past."""
        past, text = self.shares.shape[1], segments.span("text")
        if q.shape[2] != segments.length or not past:
            return
        kept = None if mask is None else mask[..., text]
        self.shares.add_(share_of_words(q[:, :, :past], k[:, :, text], kept, self.words))
        self.blocks.add_(1)


@dataclass(eq=False)
class ConceptProbe:
    """Collects the maps of the forwards that it is given to.

    words: how many of the text's first tokens name the concept.
    measured: one entry for each forward: the mean share over heads and blocks of every segment's tokens, [B, L].
    """

    words: int
    measured: list[Mapping[str, Tensor]] = field(default_factory=list)

    def start(self, segments: Segments, batch: int, device: torch.device) -> ConceptSums:
        """Empty sums for a forward."""
        past = segments.span("noisy").start
        return ConceptSums(
            words=self.words,
            shares=torch.zeros(batch, past, device=device),
            blocks=torch.zeros((), device=device),
        )

    def finish(self, sums: ConceptSums, segments: Segments, conditionings: Sequence[int] | None) -> None:
        """Keep a forward's means by segment; it is evaluated alone, so that all of the batch is its own."""
        shares = sums.shares / sums.blocks
        self.measured.append({name: shares[:, span] for name, span in segments.items() if name in PAST})

    def first(self) -> Mapping[str, Tensor]:
        """The map of the first forward; raises ValueError where there was none."""
        if not self.measured:
            raise ValueError(
                "a concept could not be looked for: another node gave the model's prediction without running its blocks; take "
                "step caches of other packs out of the workflow."
            )
        return self.measured[0]


def share_of_words(q: Tensor, k: Tensor, mask: Tensor | None, words: int) -> Tensor:
    """What queries [B, H, Lq, D] pay to the first `words` of the text's keys [B, H, L, D], of all they pay to the text.

    The mean over heads, float32 [B, Lq]; mask [B, 1, 1, L] is True where a key counts.
    """
    step = max(1, LOGITS_BYTES // (4 * q.shape[0] * q.shape[1] * k.shape[2]))
    keys = k.float().transpose(-1, -2)
    parts = []
    for part in torch.split(q, step, dim=2):
        logits = (part.float() * q.shape[-1] ** -0.5) @ keys
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        parts.append(torch.softmax(logits, dim=-1)[..., :words].sum(dim=-1).mean(dim=1))
    return torch.cat(parts, dim=1)
