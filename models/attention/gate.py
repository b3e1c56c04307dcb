"""Attention in which the packed past weighs less: per-segment biases, a cap on its share, scaled keys.

A bias that is constant on a group of keys equals merging the groups' separate attentions by their log-sum-exps:
o = sum_g e^(b_g + L_g) o_g / sum_g e^(b_g + L_g). So nothing needs an additive mask, which some back ends ignore,
and the share of the past is known for every row and head, which is what a cap needs. Only a bias that differs from token to
token inside a group is added to the logits, in a kernel of our own choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..config import FramePackConfig
from .joint import AttentionFunction, Segments

PAST = ("4x", "2x", "start", "last")
HALF = (torch.float16, torch.bfloat16)
LOGITS_BYTES = 2**29
MOST_BLOCKS = 1000  # more than any model has
# A logit that leaves nothing of a key beside others, and that half precision holds even times the root of a head's width.
NOTHING = -1e3


@dataclass(frozen=True, eq=False)
class TokenRule:
    """A gate on single tokens of some segments, by weights M in [0, 1].

    bias adds bias * M to their logits, drop leaves 1 - M of their attention, cap puts M of it under the policy's cap.
    `weighing` says where M comes from; `weights` has it, [B or 1, L] for every segment that is packed.
    """

    kind: str
    segments: frozenset[str]
    weighing: str
    bias: Tensor | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """The rule as plain data."""
        return {
            "kind": self.kind,
            "segments": sorted(self.segments),
            "by": self.weighing,
            "bias": None if self.bias is None else float(self.bias),
        }


@dataclass(frozen=True, eq=False)
class AttentionPolicy:
    """How one step attends. Values that change from step to step are 0-d tensors, so that compiled blocks are kept.

    `biases` adds to the logits of the keys of some segments, each segment named once; segments in `dropped` are not
    attended at all; `cap` bounds the share of attention that `capped` segments get; `by_token` weighs single tokens,
    at most one rule capping. These hold for query rows of the segments in `rows`. `key_scale` multiplies all keys for
    all rows. `blocks` and `scaled_blocks` hold ("double" | "single", index), None means every block. `placed` says that a
    gate has chosen `rows` and `blocks`, which then hold for all that weighs keys. `rope_jitter` is how far the heads'
    rotations along time differ (see rope.head_thetas); that holds for all rows and blocks.
    """

    biases: tuple[tuple[frozenset[str], Tensor], ...] = ()
    dropped: frozenset[str] = frozenset()
    cap: Tensor | None = None
    capped: frozenset[str] = frozenset(PAST)
    by_token: tuple[TokenRule, ...] = ()
    rows: frozenset[str] = frozenset({"noisy"})
    blocks: frozenset[tuple[str, int]] | None = None
    placed: bool = False
    key_scale: Tensor | None = None
    scaled_blocks: frozenset[tuple[str, int]] | None = None
    rope_jitter: Tensor | None = None

    def describe(self) -> dict[str, Any]:
        """The policy as plain data: biases by segment, dropped segments, cap, key scale, jitter."""
        bias = {name: float(value) for names, value in self.biases for name in sorted(names)}
        return {
            "bias": bias,
            "dropped": sorted(self.dropped),
            "cap": None if self.cap is None else float(self.cap),
            "by_token": [rule.describe() for rule in self.by_token],
            "key_scale": None if self.key_scale is None else float(self.key_scale),
            "rope_jitter": None if self.rope_jitter is None else float(self.rope_jitter),
            "rows": sorted(self.rows),
        }

    def biased(self, added: Mapping[str, float]) -> AttentionPolicy:
        """The policy with more on the logits of some segments; those of equal bias stay together, so that they attend as one group."""
        totals = self.describe()["bias"]
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

    def gates(self, block: tuple[str, int]) -> bool:
        """Whether keys are weighed in this block."""
        return self.weighs and (self.blocks is None or block in self.blocks)

    def scales(self, block: tuple[str, int]) -> bool:
        """Whether keys are scaled in this block."""
        return self.key_scale is not None and (self.scaled_blocks is None or block in self.scaled_blocks)


def under_policy(attention: AttentionFunction, policy: AttentionPolicy | None) -> AttentionFunction:
    """`attention` as a policy wants it; without a policy it is the same function, untouched."""
    return attention if policy is None else partial(_attend, attention, policy)


def _attend(
    attention: AttentionFunction,
    policy: AttentionPolicy,
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
    """An AttentionFunction under a policy: gated query rows are merged from groups of keys, the others are left alone."""
    plain = partial(
        attention, mask=mask, segments=segments, block=block, transformer_options=transformer_options
    )
    if policy.scales(block):
        k = k * policy.key_scale.to(k.dtype)
    if not policy.gates(block):
        return plain(q, k, v, rows=rows)
    first = 0 if rows is None else rows.start
    outputs = []
    for gated, start, stop in _row_runs(segments, policy.rows, first, q.shape[2]):
        part = q[:, :, start:stop]
        outputs.append(
            merged_attention(part, k, v, mask, segments, policy)
            if gated
            else plain(part, k, v, rows=slice(first + start, first + stop))
        )
    return torch.cat(outputs, dim=1)


def merged_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, segments: Segments, policy: AttentionPolicy
) -> Tensor:
    """All rows of q under the policy's biases and cap -> [B, Lq, H * D]."""
    groups = _groups(segments, policy)
    parts = [attend_with_lse(q, *_take(k, v, mask, group.slices), group.key_bias) for group in groups]
    weights = [lse if group.bias is None else lse + group.bias for group, (_, lse) in zip(groups, parts)]
    if policy.cap is not None:
        weights = _cap_share(weights, [group.capped for group in groups], policy.cap)
    shares = torch.softmax(torch.stack(weights), dim=0).to(v.dtype)
    merged = sum(share.unsqueeze(-1) * output for share, (output, _) in zip(shares, parts))
    return rearrange(merged, "b h l d -> b l (h d)")


@dataclass(frozen=True, eq=False)
class _Group:
    """Segments that share a bias and a place inside or outside the cap; `key_bias` [B or 1, L] differs from key to key."""

    slices: tuple[slice, ...]
    bias: Tensor | None
    capped: bool
    key_bias: Tensor | None = None


def _groups(segments: Segments, policy: AttentionPolicy) -> list[_Group]:
    """The keys in as few groups as the policy tells apart."""
    biases = [None, *(bias for _, bias in policy.biases)]
    number_of = {name: number for number, (names, _) in enumerate(policy.biases, 1) for name in names}
    members: dict[tuple[int, bool], list[slice]] = {}
    weighed: list[_Group] = []
    for name, place in segments.items():
        if name in policy.dropped:
            continue
        number, capped = number_of.get(name, 0), policy.cap is not None and name in policy.capped
        rules = [rule for rule in policy.by_token if name in rule.segments and name in rule.weights]
        if rules:
            weighed += _weighed_groups(name, place, biases[number], capped, rules)
        else:
            members.setdefault((number, capped), []).append(place)
    whole = [_Group(_joined(slices), biases[number], capped) for (number, capped), slices in members.items()]
    return whole + weighed


def _weighed_groups(
    name: str, place: slice, bias: Tensor | None, capped: bool, rules: Sequence[TokenRule]
) -> list[_Group]:
    """A segment under token rules. A cap by tokens attends it twice: the part under the cap and the part beside it."""
    added = [_added(rule, rule.weights[name].float()) for rule in rules if rule.kind != "cap"]
    capping = [rule.weights[name].float() for rule in rules if rule.kind == "cap"]
    if not capping:
        return [_Group((place,), bias, capped, sum(added))]
    inside, outside = (sum(added, share_logit(share)) for share in (capping[0], 1 - capping[0]))
    return [_Group((place,), bias, True, inside), _Group((place,), bias, False, outside)]


def _added(rule: TokenRule, weights: Tensor) -> Tensor:
    """What a bias or drop rule adds to the logits of keys of these weights."""
    return share_logit(1 - weights) if rule.kind == "drop" else rule.bias.to(weights) * weights


def share_logit(share: Tensor) -> Tensor:
    """What the logits of keys need for them to keep a share in [0, 1] of their weight."""
    return torch.where(share > 0, share.clamp(min=torch.finfo(share.dtype).tiny).log(), NOTHING)


def _joined(slices: Sequence[slice]) -> tuple[slice, ...]:
    joined: list[slice] = []
    for place in slices:
        if joined and joined[-1].stop == place.start:
            joined[-1] = slice(joined[-1].start, place.stop)
        else:
            joined.append(place)
    return tuple(joined)


def _take(
    k: Tensor, v: Tensor, mask: Tensor | None, slices: tuple[slice, ...]
) -> tuple[Tensor, Tensor, Tensor | None]:
    if len(slices) == 1:
        place = slices[0]
        return k[:, :, place], v[:, :, place], None if mask is None else mask[..., place]
    keys = torch.cat([k[:, :, place] for place in slices], dim=2)
    values = torch.cat([v[:, :, place] for place in slices], dim=2)
    return keys, values, None if mask is None else torch.cat([mask[..., place] for place in slices], dim=-1)


def _cap_share(weights: list[Tensor], capped: Sequence[bool], cap: Tensor) -> list[Tensor]:
    """Lower the capped groups' log weights [B, H, L] so far that their common share is at most `cap`."""
    if all(capped) or not any(capped):
        return weights
    past = torch.logsumexp(torch.stack([w for w, inside in zip(weights, capped) if inside]), dim=0)
    rest = torch.logsumexp(torch.stack([w for w, inside in zip(weights, capped) if not inside]), dim=0)
    excess = (past - rest - torch.logit(cap)).clamp(min=0)
    return [w - excess if inside else w for w, inside in zip(weights, capped)]


def attend_with_lse(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, key_bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention output [B, H, Lq, D] and log-sum-exp of its logits [B, H, Lq] in float32.

    `mask` [B, 1, 1, Lk] is True where a key may be attended, `key_bias` [B or 1, Lk] is added to the logits. Fused kernels
    return both where they exist (CUDA from compute capability 8 on in half precision, the CPU without gradients);
    elsewhere the logits are formed for as many rows at a time as fit LOGITS_BYTES.
    """
    bias = _logit_bias(mask, key_bias, q.shape[0])
    if q.is_cuda and q.dtype in HALF and torch.cuda.get_device_capability(q.device) >= (8, 0):
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        if bias is None:
            return flash(q, k, v)[:2]
        output, lse = flash(*bias_in_channels(q, k, v, bias), scale=q.shape[-1] ** -0.5)[:2]
        return output[..., : v.shape[-1]], lse
    if q.device.type == "cpu" and not torch.is_grad_enabled():
        added = None if bias is None else bias.to(q.dtype)
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=added)
    rows = max(1, LOGITS_BYTES // (4 * q.shape[0] * q.shape[1] * k.shape[2]))
    parts = [_attend_by_logits(part, k, v, bias) for part in q.split(rows, dim=2)]
    return torch.cat([output for output, _ in parts], dim=2), torch.cat([lse for _, lse in parts], dim=2)


def _logit_bias(mask: Tensor | None, key_bias: Tensor | None, batch: int) -> Tensor | None:
    """Mask and bias as one bias [B or 1, 1, 1, Lk] in float32; a batch that repeats gets the bias repeated."""
    masked = None if mask is None else torch.where(mask, 0.0, NOTHING)
    if key_bias is None:
        return masked
    bias = key_bias.float()[:, None, None]
    if bias.shape[0] > 1:
        bias = bias.repeat(batch // bias.shape[0], 1, 1, 1)
    return bias if masked is None else bias + masked


def bias_in_channels(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v with eight channels more, in which q k^T gains sqrt(D) times a bias [B or 1, 1, 1, Lk]; v gains zeros.

    So a kernel that takes no mask adds the bias, told the scale D^-0.5. Three channels of q are 1, and k's sum to the
    bias there, which in half precision holds it to about 24 bits.
    """
    rest = (bias[..., 0, :] * q.shape[-1] ** 0.5).expand(k.shape[0], k.shape[1], -1)
    channels = []
    for _ in range(3):
        channels.append(rest.to(k.dtype))
        rest = rest - channels[-1].float()
    added = torch.stack([*channels, *[torch.zeros_like(channels[0])] * 5], dim=-1)
    asking = q.new_zeros(*q.shape[:3], 8)
    asking[..., :3] = 1
    return (
        torch.cat((q, asking), dim=-1),
        torch.cat((k, added), dim=-1),
        torch.cat((v, torch.zeros_like(added)), dim=-1),
    )


def _attend_by_logits(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    logits = (q.float() @ k.float().transpose(-1, -2)) * q.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias
    return F.softmax(logits, dim=-1).to(v.dtype) @ v, torch.logsumexp(logits, dim=-1)


def muted(
    attention: AttentionFunction, kept: Mapping[str, Tensor] | None, segments: Segments
) -> AttentionFunction:
    """`attention` with the keys and values of some tokens zeroed for all rows; where nothing is, the same function.

    `kept` has 1 or 0 for each token of a segment, [B or 1, L]. A zero key still takes its part of the softmax, e^0.
    """
    present = {name: kept[name] for name, _ in segments.items() if kept and name in kept}
    if not present:
        return attention
    some = next(iter(present.values()))
    rows = max(part.shape[0] for part in present.values())
    parts = [
        present.get(name, torch.ones_like(some[:1, :1])).expand(rows, place.stop - place.start)
        for name, place in segments.items()
    ]
    return partial(_attend_muted, attention, torch.cat(parts, dim=1)[:, None, :, None])


def _attend_muted(
    attention: AttentionFunction, kept: Tensor, q: Tensor, k: Tensor, v: Tensor, **told: Any
) -> Tensor:
    factor = kept.to(k.dtype).repeat(k.shape[0] // kept.shape[0], 1, 1, 1)
    return attention(q, k * factor, v * factor, **told)


def _row_runs(
    segments: Segments, gated: frozenset[str], offset: int, length: int
) -> list[tuple[bool, int, int]]:
    """Runs of query rows (gated or not, first, last + 1) within the `length` rows that start at token `offset`."""
    runs: list[tuple[bool, int, int]] = []
    for name, place in segments.items():
        start, stop = max(place.start - offset, 0), min(place.stop - offset, length)
        if start >= stop:
            continue
        if runs and runs[-1][0] == (name in gated):
            runs[-1] = (runs[-1][0], runs[-1][1], stop)
        else:
            runs.append((name in gated, start, stop))
    return runs


def block_set(text: str) -> frozenset[tuple[str, int]] | None:
    """Blocks named like "double:0-3,7; single:0-39"; an empty text means all (None). Raises ValueError for other words."""
    if not text.strip():
        return None
    chosen = set()
    for part in text.split(";"):
        kind, _, ranges = (word.strip() for word in part.partition(":"))
        if kind not in ("double", "single"):
            raise ValueError(
                f"blocks is {text!r}; write for example 'double:0-3; single:0-7,12' or leave it empty for all."
            )
        for piece in (piece.strip() for piece in ranges.split(",")):
            numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", piece)
            if not numbers:
                raise ValueError(f"blocks has {piece!r}, which is no number or range such as 3 or 0-7.")
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            if not first <= last < MOST_BLOCKS:
                raise ValueError(
                    f"blocks has {piece!r}; write a range from low to high, below {MOST_BLOCKS}, such as 0-7."
                )
            chosen |= {(kind, index) for index in range(first, last + 1)}
    return frozenset(chosen)


def check_blocks(blocks: frozenset[tuple[str, int]] | None, config: FramePackConfig) -> None:
    """Raises ValueError when blocks are named that the model does not have."""
    counts = {"double": config.num_layers, "single": config.num_single_layers}
    beyond = sorted((kind, index) for kind, index in blocks or () if index >= counts[kind])
    if beyond:
        raise ValueError(
            f"blocks names {beyond[0][0]} block {beyond[0][1]}, but this model has {counts['double']} double "
            f"and {counts['single']} single blocks, counted from 0."
        )
