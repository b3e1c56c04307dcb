"""Attention in which the packed past weighs less: per-segment biases, a cap on its share, scaled keys.

A bias that is constant on a group of keys equals merging the groups' separate attentions by their log-sum-exps:
o = sum_g e^(b_g + L_g) o_g / sum_g e^(b_g + L_g). So nothing needs an additive mask, which some back ends ignore,
and the share of the past is known for every row and head, which is what a cap needs. Only a bias that differs from token to
token inside a group is added to the logits, in a kernel of our own choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from .blocks import Block
from .groups import key_groups
from .joint import AttentionFunction, Segments, heads_together
from .policy import AttentionPolicy


def with_policy(
    attention: AttentionFunction, policy: AttentionPolicy | None, most_rows: int | None = None
) -> AttentionFunction:
    """`attention` as a policy wants it; without a policy it is the same function, untouched.

    Of gated query rows at most `most_rows` are attended at a time; None for all.
    """
    if policy is None:
        return attention
    return partial(_attend, attention=attention, policy=policy, most_rows=most_rows)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    attention: AttentionFunction,
    policy: AttentionPolicy,
    most_rows: int | None,
    mask: Tensor | None,
    segments: Segments,
    block: Block,
    transformer_options: Mapping[str, Any],
) -> Tensor:
    """An AttentionFunction under a policy: gated query rows are merged from groups of keys, the others are left alone."""
    plain = partial(
        attention, mask=mask, segments=segments, block=block, transformer_options=transformer_options
    )
    k = policy.scaled_keys(k, block)
    if not policy.gates(block):
        return plain(q, k, v)
    merged = partial(merged_attention, mask=mask, segments=segments, policy=policy)
    outputs = []
    for gated, start, stop in _row_runs(segments, policy.rows, q.shape[2]):
        rows = q[:, :, start:stop]
        if gated:
            outputs += [merged(part, k, v) for part in torch.split(rows, most_rows or rows.shape[2], dim=2)]
        else:
            outputs.append(plain(rows, k, v))
    return torch.cat(outputs, dim=1)


def _row_runs(segments: Segments, gated: frozenset[str], queries: int) -> list[tuple[bool, int, int]]:
    """Runs of a block's query rows: (whether they are gated, first, last + 1)."""
    runs: list[tuple[bool, int, int]] = []
    offset = segments.first_query(queries)
    for name, span in segments.items():
        start, stop = max(span.start - offset, 0), min(span.stop - offset, queries)
        if start >= stop:
            continue
        if runs and runs[-1][0] == (name in gated):
            runs[-1] = (runs[-1][0], runs[-1][1], stop)
        else:
            runs.append((name in gated, start, stop))
    return runs


def merged_attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, segments: Segments, policy: AttentionPolicy
) -> Tensor:
    """All rows of q [B, H, Lq, D] under the policy's biases and cap -> [B, Lq, H * D]."""
    groups = key_groups(segments, policy)
    parts = [group.attend(q, k, v, mask) for group in groups]
    weights = [lse if group.bias is None else lse + group.bias for group, (_, lse) in zip(groups, parts)]
    if policy.cap is not None:
        weights = _cap_share(weights, [group.capped for group in groups], policy.cap)
    merged = _merge([output for output, _ in parts], weights)
    return heads_together(merged)


def _merge(outputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Outputs [B, H, L, D] of groups of keys, each by its share in the sum of all e^weight; weights [B, H, L]."""
    if len(outputs) == 1:
        return outputs[0]
    if len(outputs) == 2:
        # In one pass: the first group's share is the logistic function of how much more it weighs.
        share = torch.sigmoid(weights[0] - weights[1]).to(outputs[0].dtype)
        return torch.lerp(outputs[1], outputs[0], share.unsqueeze(-1))
    shares = torch.softmax(torch.stack(weights), dim=0).to(outputs[0].dtype)
    parts = (share.unsqueeze(-1) * output for share, output in zip(shares, outputs))
    merged: Tensor = reduce(torch.add, parts)
    return merged


def _cap_share(weights: list[Tensor], capped: Sequence[bool], cap: Tensor) -> list[Tensor]:
    """Lower the capped groups' log weights [B, H, L] so far that their common share is at most `cap`."""
    if all(capped) or not any(capped):
        return weights
    past = torch.logsumexp(torch.stack([w for w, inside in zip(weights, capped) if inside]), dim=0)
    rest = torch.logsumexp(torch.stack([w for w, inside in zip(weights, capped) if not inside]), dim=0)
    excess = (past - rest - torch.logit(cap)).clamp(min=0)
    return [w - excess if inside else w for w, inside in zip(weights, capped)]
