"""What a gate wants of attention in one step, as data: the policy, and its rules for single tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .blocks import Block, Blocks
from .joint import PAST


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenRule:
    """A gate on single tokens, each by a weight M in [0, 1].

    kind: "bias" adds bias * M to a token's logits, "drop" leaves 1 - M of the attention that it would get, "cap" puts the
        share M of it under the policy's cap.
    segments: the segments whose tokens it gates.
    source: where M comes from: the name of a measure, or the key of an attached mask.
    bias: what a token of weight 1 gains on its logits, 0-d; None for the other kinds.
    inverted: whether it gates what the source leaves out, by 1 - M.
    weights: M [B or 1, L] for each segment that is packed; empty until they are worked out for a packed past.
    """

    kind: str
    segments: frozenset[str]
    source: str
    bias: Tensor | None = None
    inverted: bool = False
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def named_source(self) -> str:
        """Where its weights come from, as the trace says it."""
        return f"1 - {self.source}" if self.inverted else self.source

    def describe(self) -> dict[str, Any]:
        """The rule as plain data, for the trace."""
        return {
            "kind": self.kind,
            "segments": sorted(self.segments),
            "by": self.named_source,
            "bias": _number(self.bias),
        }

    def weighed(self, weights: Mapping[str, Tensor]) -> TokenRule:
        """The rule with the weights that its source gives for a packed past, by segment."""
        own = {name: 1 - part for name, part in weights.items()} if self.inverted else weights
        return replace(self, weights=own)


@dataclass(frozen=True)
class PolicyNumbers:
    """A policy's values as numbers; None where it does not set one.

    biases: what each biased segment's logits gain.
    cap: the largest share of attention that the capped segments may get.
    key_scale: the factor on all keys.
    rope_jitter: how far the heads' rotations along time differ.
    """

    biases: dict[str, float]
    cap: float | None
    key_scale: float | None
    rope_jitter: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionPolicy:
    """How one step attends. Values that change from step to step are 0-d tensors, so that compiled blocks are kept.

    biases: sets of segments, each with what the logits of its keys gain; a segment stands in at most one set.
    dropped: segments that are not attended at all.
    cap: the largest share of attention that the segments in `capped` may get, for each row and head; None for no bound.
    capped: the segments under the cap.
    by_token: rules for single tokens, of which at most one caps.
    rows: the segments whose queries are gated: all of the above hold for these alone.
    blocks: the blocks in which they are gated; None for all.
    has_gate: whether a gate has chosen `rows` and `blocks`, which then hold for everything that weighs keys.
    key_scale: a factor on all keys, for all queries; None for 1.
    scaled_blocks: the blocks in which keys are scaled; None for all.
    rope_jitter: how far the heads' rotations along time differ (see rope.head_thetas), for all queries and blocks.
    """

    biases: tuple[tuple[frozenset[str], Tensor], ...] = ()
    dropped: frozenset[str] = frozenset()
    cap: Tensor | None = None
    capped: frozenset[str] = frozenset(PAST)
    by_token: tuple[TokenRule, ...] = ()
    rows: frozenset[str] = frozenset({"noisy"})
    blocks: Blocks = None
    has_gate: bool = False
    key_scale: Tensor | None = None
    scaled_blocks: Blocks = None
    rope_jitter: Tensor | None = None

    @property
    def numbers(self) -> PolicyNumbers:
        """The policy's values as numbers. Waits for them where they lie on a GPU."""
        return PolicyNumbers(
            biases={name: float(bias) for names, bias in self.biases for name in sorted(names)},
            cap=_number(self.cap),
            key_scale=_number(self.key_scale),
            rope_jitter=_number(self.rope_jitter),
        )

    def describe(self) -> dict[str, Any]:
        """The policy as plain data, for the trace."""
        numbers = self.numbers
        return {
            "bias": numbers.biases,
            "dropped": sorted(self.dropped),
            "cap": numbers.cap,
            "by_token": [rule.describe() for rule in self.by_token],
            "key_scale": numbers.key_scale,
            "rope_jitter": numbers.rope_jitter,
            "rows": sorted(self.rows),
        }

    def biased(self, added: Mapping[str, float]) -> AttentionPolicy:
        """The policy with more on the logits of some segments; those of equal bias stay together, so that they attend as one group."""
        totals = self.numbers.biases
        for name, bias in added.items():
            totals[name] = totals.get(name, 0.0) + bias
        biases = tuple(
            (frozenset(name for name in totals if totals[name] == total), torch.tensor(total))
            for total in dict.fromkeys(totals.values())
        )
        return replace(self, biases=biases)

    @property
    def weighs(self) -> bool:
        """Whether keys are weighed at all."""
        return bool(self.biases or self.dropped or self.by_token) or self.cap is not None

    def gates(self, block: Block) -> bool:
        """Whether keys are weighed in this block."""
        return self.weighs and (self.blocks is None or block in self.blocks)

    def scaled_keys(self, k: Tensor, block: Block) -> Tensor:
        """The keys as this block sees them; the same tensor where they are not scaled."""
        if self.key_scale is None or not (self.scaled_blocks is None or block in self.scaled_blocks):
            return k
        return k * self.key_scale.to(k.dtype)


def _number(value: Tensor | None) -> float | None:
    return None if value is None else float(value)
