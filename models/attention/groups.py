"""The keys of the joint sequence in as few groups as a policy distinguishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from .joint import Segments
from .log_sum_exp import MASKED_LOGIT, attend_with_lse
from .policy import AttentionPolicy, TokenRule


@dataclass(frozen=True, eq=False, kw_only=True)
class KeyGroup:
    """Keys that share a bias, and lie inside the policy's cap or outside of it.

    spans: their token ranges.
    bias: what all their logits gain, 0-d; None for nothing.
    capped: whether they lie under the cap.
    key_bias: what each key's logits gain, [B or 1, L]; None where the keys do not differ.
    """

    spans: tuple[slice, ...]
    bias: Tensor | None
    capped: bool
    key_bias: Tensor | None = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attention to these keys alone [B, H, Lq, D] and the log-sum-exp of its logits [B, H, Lq], without `bias`."""
        keys, values, kept = self.take(k, v, mask)
        return attend_with_lse(q, keys, values, mask=kept, key_bias=self.key_bias)

    def take(self, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The group's part of keys and values [B, H, L, D] and of the mask [B, 1, 1, L]."""
        if len(self.spans) == 1:
            span = self.spans[0]
            return k[:, :, span], v[:, :, span], None if mask is None else mask[..., span]
        keys = torch.cat([k[:, :, span] for span in self.spans], dim=2)
        values = torch.cat([v[:, :, span] for span in self.spans], dim=2)
        return keys, values, None if mask is None else torch.cat([mask[..., s] for s in self.spans], dim=-1)


def key_groups(segments: Segments, policy: AttentionPolicy) -> list[KeyGroup]:
    """All keys that a policy leaves: segments of one bias together, then those whose tokens are weighed one by one."""
    biases = [None, *(bias for _, bias in policy.biases)]
    number_of = {name: number for number, (names, _) in enumerate(policy.biases, 1) for name in names}
    members: dict[tuple[int, bool], list[slice]] = {}
    weighed: list[KeyGroup] = []
    for name, span in segments.items():
        if name in policy.dropped:
            continue
        number, capped = number_of.get(name, 0), policy.cap is not None and name in policy.capped
        rules = [rule for rule in policy.by_token if name in rule.segments and name in rule.weights]
        if rules:
            whole = KeyGroup(spans=(span,), bias=biases[number], capped=capped)
            weighed += _by_token(name, whole, rules)
        else:
            members.setdefault((number, capped), []).append(span)
    return [
        KeyGroup(spans=_joined(spans), bias=biases[number], capped=capped)
        for (number, capped), spans in members.items()
    ] + weighed


def _by_token(name: str, whole: KeyGroup, rules: Sequence[TokenRule]) -> list[KeyGroup]:
    """A segment under token rules. A cap by tokens attends it twice: the part under the cap and the part beside it."""
    added = [_added_logits(rule, rule.weights[name].float()) for rule in rules if rule.kind != "cap"]
    capping = [rule.weights[name].float() for rule in rules if rule.kind == "cap"]
    if not capping:
        parts = [(whole.capped, added)]
    else:
        parts = [(True, [share_logit(capping[0]), *added]), (False, [share_logit(1 - capping[0]), *added])]
    return [
        KeyGroup(spans=whole.spans, bias=whole.bias, capped=capped, key_bias=reduce(torch.add, terms))
        for capped, terms in parts
    ]


def _added_logits(rule: TokenRule, weights: Tensor) -> Tensor:
    """What a bias or drop rule adds to the logits of keys of these weights."""
    return share_logit(1 - weights) if rule.bias is None else rule.bias.to(weights) * weights


def share_logit(share: Tensor) -> Tensor:
    """What the logits of keys need for them to keep a share in [0, 1] of their weight."""
    return torch.where(share > 0, share.clamp(min=torch.finfo(share.dtype).tiny).log(), MASKED_LOGIT)


def _joined(spans: Sequence[slice]) -> tuple[slice, ...]:
    """Token ranges with those that touch made one."""
    joined: list[slice] = []
    for span in spans:
        if joined and joined[-1].stop == span.start:
            joined[-1] = slice(joined[-1].start, span.stop)
        else:
            joined.append(span)
    return tuple(joined)
