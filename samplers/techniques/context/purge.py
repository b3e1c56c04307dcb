"""Context purge: parts of the packed past are taken out, emptied or coarsened at a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...context.history import Context
from ...context.plan import Direction, Section, SectionIndices
from ...context.tokens import KERNELS, mask_weights, segment_latents, token_counts, tokens_to_cells
from ..base import Step, Technique, check_range, check_window, in_window

KEEP, REMOVE, ZERO, ZERO_KV = "keep", "remove", "zero", "zero_kv"
PURGES, COARSE = (REMOVE, ZERO, ZERO_KV), ("2x", "4x")
# What may be done to a segment; a coarser tier takes its frames whole.
ACTIONS = {
    "start": (KEEP, *PURGES, *COARSE),
    "last": (KEEP, *PURGES, *COARSE),
    "2x": (KEEP, *PURGES, "4x"),
    "4x": (KEEP, *PURGES),
    "image": (KEEP, *PURGES),
}
SELECTIONS = ("all", "mask", "random", "most_attended", "least_attended")


@dataclass(frozen=True)
class ContextPurge(Technique):
    """Flushes parts of the packed past, inside a window of progress.

    Each segment has an action:

    - keep: as it is.
    - remove: its tokens are not packed, as if they had never been; their rows are not computed either.
    - zero: its latents become 0, which is what history holds before there is any; its tokens are still attended to.
    - zero_kv: keys and values of its tokens become 0 in every block (the founding form); a zero key still takes e^0 of
      every softmax.
    - 2x, 4x: its frames go through the coarser tier's kernel, a learned low-pass, at their own indices.

    remove, zero and zero_kv take the tokens that `select` says: all; those under the mask (half covered or more); a random
    share of 1 - keep_ratio, seeded by seed + section; or that share of those which the window attended to most or least,
    measured in the section's first evaluation, which therefore still sees everything. keep_ratio and `gap` scale with the
    switch's change, actions on all do not: they act from a change of `threshold` on.

    `gap` moves the history (last, 2x, 4x) that many latent frames away from the window; where it lies before the window, as
    in F1, the start frame moves away with it. The window stays where it is, for the text to find it where it did.
    """

    start: str = KEEP
    last: str = "2x"
    history_2x: str = REMOVE
    history_4x: str = REMOVE
    image: str = KEEP
    select: str = "all"
    keep_ratio: float = 0.5
    seed: int = 0
    gap: int = 0
    threshold: float = 0.3
    t_start: float = 1.0
    t_end: float = 0.0
    mask: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, action in self._actions().items():
            if action not in ACTIONS[name]:
                raise ValueError(f"{name} is {action!r}; choose one of {', '.join(ACTIONS[name])}.")
        if self.select not in SELECTIONS:
            raise ValueError(f"select is {self.select!r}; choose one of {', '.join(SELECTIONS)}.")
        check_range("keep_ratio", self.keep_ratio, 0, 1)
        check_range("gap", self.gap, 0, 100)
        check_range("threshold", self.threshold, 0, 1)
        check_window(self.t_start, self.t_end)

    def context(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        return self._purged(section, context, attachments) if self._for_whole_sections else context

    def context_at(
        self, section: Section, step: Step, context: Context, attachments: Mapping[str, Any]
    ) -> Context:
        if self._for_whole_sections or not in_window(step, self.t_start, self.t_end):
            return context
        return self._purged(section, context, attachments)

    def claims(self, section: Section, step: Step) -> frozenset[str]:
        acts = self._amount(section) > 0 and in_window(step, self.t_start, self.t_end)
        return frozenset(self._touched(section)) if acts else frozenset()

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        amount = self._amount(section)
        acts = (self._touched(section) or round(self.gap * amount)) and in_window(
            step, self.t_start, self.t_end
        )
        return {"amount": amount if acts else 0.0}

    def reads_attention_shares(self, section: Section) -> bool:
        return self._by_attention and bool(self._purging()) and self._share(section) < 1

    @property
    def _for_whole_sections(self) -> bool:
        return (self.t_start, self.t_end) == (1, 0) and not self._by_attention

    @property
    def _by_attention(self) -> bool:
        return self.select.endswith("_attended")

    def _actions(self) -> dict[str, str]:
        return {
            "start": self.start,
            "last": self.last,
            "2x": self.history_2x,
            "4x": self.history_4x,
            "image": self.image,
        }

    def _touched(self, section: Section) -> set[str]:
        """The segments that do not stay as they are."""
        takes_some = self.select in ("all", "mask") or self._share(section) < 1
        coarser = {name for name, action in self._actions().items() if action in COARSE}
        return coarser | (self._purging().keys() if takes_some else set())

    def _purging(self) -> dict[str, str]:
        """The segments of which tokens are taken, and how."""
        return {name: action for name, action in self._actions().items() if action in PURGES}

    def _amount(self, section: Section) -> float:
        amount = self.amount(section)
        return amount if amount >= self.threshold else 0.0

    def _share(self, section: Section) -> float:
        """The share of tokens that stay, where a share is asked for."""
        return 1 - self._amount(section) * (1 - self.keep_ratio)

    def _purged(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        """The context without what is purged; the same object where nothing is."""
        amount = self._amount(section)
        waiting = context.attention_shares is None and self.reads_attention_shares(section)
        if amount == 0 or waiting:
            return context
        purged = self._take(section, context, attachments)
        purged = _demote(purged, {name: to for name, to in self._actions().items() if to in COARSE})
        gap = round(self.gap * amount)
        return replace(purged, indices=_apart(purged.indices, gap)) if gap else purged

    def _take(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        """Remove, zero or mute the selected tokens."""
        for name, kept in self._kept(section, context, attachments).items():
            action = self._purging()[name]
            if action == REMOVE:
                context = replace(context, tokens={**context.tokens, name: _indices(kept)})
            elif action == ZERO_KV:
                context = replace(context, kv_mask={**context.kv_mask, name: kept.float()})
            else:
                context = _zeroed(context, name, kept)
        return context

    def _kept(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> dict[str, Tensor]:
        """Which tokens of each segment stay, bool [B or 1, L], for segments that lose some; as many in every row."""
        kept = {}
        generator = torch.Generator().manual_seed((self.seed + section.index) % 2**63)
        for name, count in token_counts(context).items():
            order = torch.randperm(count, generator=generator)
            if name not in self._purging():
                continue
            chosen = self._chosen(section, context, attachments, name, order)
            if not bool(chosen.all()):
                kept[name] = chosen.to(_device(context))
        return kept

    def _chosen(
        self, section: Section, context: Context, attachments: Mapping[str, Any], name: str, order: Tensor
    ) -> Tensor:
        """Which tokens of a segment stay, bool [B or 1, L]."""
        count = len(order)
        if self.select == "all":
            return torch.zeros(1, count, dtype=torch.bool)
        if self.select == "mask":
            return mask_weights(context, attachments[self.mask])[name] < 0.5
        if self._by_attention and self.reads_attention_shares(section):
            # Techniques behind this one may have packed more at the tier's end when it was measured.
            shares = context.attention_shares[name][:, :count]
            if shares.shape[1] != count:
                raise ValueError(
                    f"the {name} part of the past had {shares.shape[1]} tokens in the first step and has {count} now; "
                    "let the context purge that selects by attention come first in the chain of techniques."
                )
            order = shares.argsort(dim=1, descending=self.select == "least_attended")
        order = torch.atleast_2d(order)
        stays = order[:, : round(self._share(section) * count)]
        return torch.zeros(order.shape, dtype=torch.bool, device=order.device).scatter(1, stays, True)


def _device(context: Context) -> torch.device:
    tensors = (context.clean, context.clean_2x, context.clean_4x, context.image_embeds)
    return next(tensor.device for tensor in tensors if tensor is not None)


def _indices(kept: Tensor) -> Tensor:
    """Bool [B, L] with as many True in every row -> their places int64 [B, K], rising."""
    return kept.nonzero()[:, 1].reshape(kept.shape[0], int(kept[0].sum()))


def _zeroed(context: Context, name: str, kept: Tensor) -> Context:
    """The context with 0 in place of what the tokens that do not stay are made of."""
    if name == "image":
        factor = kept.unsqueeze(-1).to(context.image_embeds)
        return replace(context, image_embeds=context.image_embeds * factor)
    latents = segment_latents(context)[name]
    factor = tokens_to_cells(kept.to(latents), name, tuple(latents.shape[2:]))[:, None]
    return _with_latents(context, name, latents * factor)


def _with_latents(context: Context, name: str, latents: Tensor) -> Context:
    if name == "start":
        return replace(context, clean=torch.cat([latents, context.clean[:, :, 1:]], dim=2))
    if name == "last":
        return replace(context, clean=torch.cat([context.clean[:, :, :1], latents], dim=2))
    return replace(context, **{f"clean_{name}": latents})


def _demote(context: Context, targets: Mapping[str, str]) -> Context:
    """Let the frames of some segments be packed in a coarser tier instead of their own."""
    latents = {name: part for name, part in segment_latents(context).items() if name in targets}
    if not latents:
        return context
    places = {name: _places(context.indices, name) for name in latents}
    none = {name: torch.empty(1, 0, dtype=torch.int64, device=part.device) for name, part in latents.items()}
    context = replace(context, tokens={**context.tokens, **none})
    for tier in COARSE:
        frames = [
            (place, latents[name][:, :, number : number + 1])
            for name in latents
            for number, place in enumerate(places[name])
            if targets[name] == tier
        ]
        if frames:
            context = _appended(context, tier, sorted(frames, key=lambda frame: frame[0]))
    return context


def _appended(context: Context, tier: str, frames: Sequence[tuple[int, Tensor]]) -> Context:
    """More (index, latents) frames in a coarse tier, in tokens of their own beside those that it has."""
    own = segment_latents(context).get(tier)
    size, count = KERNELS[tier][0], token_counts(context).get(tier, 0)
    mine = [] if own is None else list(zip(_places(context.indices, tier), own.split(1, dim=2)))
    filled = [frame for run in [mine, *_runs(frames)] for frame in _filled(run, size)]
    places = tuple(place for place, _ in filled)
    context = replace(
        context,
        indices=replace(context.indices, **{f"clean_{tier}": places}),
        **{f"clean_{tier}": torch.cat([latents for _, latents in filled], dim=2)},
    )
    added = torch.arange(count, token_counts(context)[tier], device=filled[0][1].device)[None]
    if tier in context.tokens:
        kept = context.tokens[tier]
        kept = torch.cat([kept, added.expand(kept.shape[0], -1)], dim=1)
        context = replace(context, tokens={**context.tokens, tier: kept})
    if tier in context.kv_mask:
        mask = context.kv_mask[tier]
        mask = torch.cat([mask, torch.ones_like(added).to(mask).expand(mask.shape[0], -1)], dim=1)
        context = replace(context, kv_mask={**context.kv_mask, tier: mask})
    return context


def _runs(frames: Sequence[tuple[int, Tensor]]) -> list[list[tuple[int, Tensor]]]:
    """Frames in rising order, split where their indices do not follow one another."""
    runs: list[list[tuple[int, Tensor]]] = []
    for frame in frames:
        if runs and frame[0] - runs[-1][-1][0] == 1:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return runs


def _filled(run: list[tuple[int, Tensor]], size: int) -> list[tuple[int, Tensor]]:
    """A run with its last frame repeated until a kernel of `size` frames fits, as packing does at a tier's end."""
    return run + run[-1:] * (-len(run) % size)


def _places(indices: SectionIndices, name: str) -> tuple[int, ...]:
    """The frame indices of a segment."""
    return {
        "start": indices.clean[:1],
        "last": indices.clean[1:],
        "2x": indices.clean_2x,
        "4x": indices.clean_4x,
    }[name]


def _apart(indices: SectionIndices, gap: int) -> SectionIndices:
    """Indices with the history `gap` frames further from the window, which may make them negative.

    Text has no place of its own, so it would notice the window itself moving.
    """
    history = (*indices.clean[1:], *indices.clean_2x, *indices.clean_4x)
    before = bool(history) and indices.direction is Direction.FORWARD

    def moved(places: tuple[int, ...]) -> tuple[int, ...]:
        if before:
            return tuple(place - gap for place in places)
        return tuple(place + gap if place > indices.target[-1] else place for place in places)

    return replace(
        indices,
        clean=moved(indices.clean),
        clean_2x=moved(indices.clean_2x),
        clean_4x=moved(indices.clean_4x),
    )
