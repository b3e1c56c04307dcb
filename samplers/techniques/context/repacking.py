"""Frames of the packed past packed in a coarser tier than their own, or further away from the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...context.history import Context
from ...context.indices import Direction, SectionIndices
from ...context.tokens import KERNELS, segment_latents, token_counts

COARSE = ("2x", "4x")


def with_coarser_frames(context: Context, targets: Mapping[str, str]) -> Context:
    """The context with the frames of some segments packed in a coarser tier, `targets` by segment, instead of their own."""
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
    mine = [] if own is None else list(zip(_places(context.indices, tier), torch.split(own, 1, dim=2)))
    filled = [frame for run in [mine, *_runs(frames)] for frame in _filled(run, size)]
    places = tuple(place for place, _ in filled)
    new_places: dict[str, Any] = {f"clean_{tier}": places}
    new_latents: dict[str, Any] = {f"clean_{tier}": torch.cat([latents for _, latents in filled], dim=2)}
    context = replace(context, indices=replace(context.indices, **new_places), **new_latents)
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


def with_gap(indices: SectionIndices, gap: int) -> SectionIndices:
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
