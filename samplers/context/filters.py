"""Filters on packed frames: they keep shape, length and constants, and read nothing but what is really there.

Frames are [B, C, T, H, W]. An all-zero position is one where nothing is packed (history that does not exist yet, a start
frame of text to video, purged places): it stays zero, and it counts for nothing in what lies around it. So every filter is a
normalised convolution (Knutsson and Westin 1993): filter(x) / filter(mask).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from .history import Context
from .indices import SectionIndices

# Below this a Gaussian reaches no neighbour in float32.
SHARP = 1e-3


@dataclass(frozen=True, eq=False)
class Packed:
    """Frames [B, C, T, H, W] of one part of the past and their indices on the model's time axis."""

    frames: Tensor
    indices: tuple[int, ...]


def parts_of(context: Context) -> dict[str, Packed]:
    """The frames that are packed, by segment (start, last, 2x, 4x); segments without frames are left out."""
    parts = {}
    if context.clean is not None:
        start, last = context.clean[:, :, :1], context.clean[:, :, 1:]
        parts["start"] = Packed(start, context.indices.clean[:1])
        parts["last"] = Packed(last, context.indices.clean[1:])
    if context.clean_2x is not None:
        parts["2x"] = Packed(context.clean_2x, context.indices.clean_2x)
    if context.clean_4x is not None:
        parts["4x"] = Packed(context.clean_4x, context.indices.clean_4x)
    return {name: part for name, part in parts.items() if part.frames.shape[2]}


def with_parts(context: Context, frames: Mapping[str, Tensor]) -> Context:
    """The same context with other frames [B, C, T, H, W] in some of its segments."""
    now = {**{name: part.frames for name, part in parts_of(context).items()}, **frames}
    clean = context.clean
    if {"start", "last"} & frames.keys():
        clean = torch.cat([now[name] for name in ("start", "last") if name in now], dim=2)
    return replace(
        context,
        clean=clean,
        clean_2x=frames.get("2x", context.clean_2x),
        clean_4x=frames.get("4x", context.clean_4x),
    )


def distances(indices: Sequence[int], section: SectionIndices) -> list[int]:
    """How many latent frames each index lies away from the nearest frame of the window, on either side of it."""
    return [min(abs(index - target) for target in section.target) for index in indices]


def packed_mask(frames: Tensor) -> Tensor:
    """Where something is packed: bool [B, 1, T, H, W]."""
    return (frames != 0).any(dim=1, keepdim=True)


def gaussian(
    frames: Tensor,
    spatial: Sequence[float],
    *,
    temporal: Sequence[float] | None = None,
    places: Sequence[float] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """A Gaussian about every position, with a width of its own for every frame; 0 is none.

    `spatial` [T] is in rows and columns, `temporal` [T] in the unit of `places` [T], where the frames lie in time. It is cut at no
    radius: a row of weights is as long as the frame, centred on its own place, so that nothing can shift.
    """

    def spread(x: Tensor) -> Tensor:
        if temporal is not None and places is not None and any(temporal):
            x = torch.einsum("ts,bcshw->bcthw", _weights(places, temporal, x), x)
        if any(spatial):
            rows, columns = (_weights(range(size), spatial, x, each=True) for size in x.shape[-2:])
            x = torch.einsum("thg,bctgw->bcthw", rows, x)
            x = torch.einsum("twv,bcthv->bcthw", columns, x)
        return x

    return normalised(spread, frames, mask)


def resize(frames: Tensor, factor: float, mask: Tensor | None = None) -> Tensor:
    """Every frame bilinearly resized by `factor` with antialiasing, and back; 1 is identity.

    Source: Adaptive Low-Pass Guidance (Choi et al. 2025, arXiv 2506.08456).
    """
    size = frames.shape[-2:]
    small = [max(1, round(side * factor)) for side in size]

    def down_and_up(x: Tensor) -> Tensor:
        images = x.transpose(1, 2).flatten(0, 1)
        for target in (small, size):
            images = F.interpolate(images, size=tuple(target), mode="bilinear", antialias=True)
        return torch.unflatten(images, 0, (x.shape[0], -1)).transpose(1, 2)

    return normalised(down_and_up, frames, mask)


def add_noise(frames: Tensor, level: float, noise: Tensor, mask: Tensor | None = None) -> Tensor:
    """Replace details by noise: mean + sqrt(1 - level^2) (x - mean) + level * deviation * noise, level in [0, 1].

    Mean and deviation of every frame and channel are kept, so a constant stays one. After CADS (Sadat et al. 2023, arXiv
    2310.17347), which anneals a condition's noise over the steps and then restores its mean and deviation.
    """
    mean = frame_mean(frames, mask)
    apart = frames - mean
    deviation = frame_mean(apart * apart, mask).sqrt()
    noised = mean + sqrt(1 - level * level) * apart + level * deviation * noise.to(frames)
    return noised if mask is None else torch.where(mask, noised, frames)


def frame_mean(frames: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean [B, C, T, 1, 1] of every frame and channel over the positions that count, 0 where none does."""
    if mask is None:
        return frames.mean(dim=(-2, -1), keepdim=True)
    total = (frames * mask).sum(dim=(-2, -1), keepdim=True)
    return total / mask.sum(dim=(-2, -1), keepdim=True).clamp(min=1)


def normalised(linear: Callable[[Tensor], Tensor], frames: Tensor, mask: Tensor | None = None) -> Tensor:
    """A linear filter over the positions that count (bool mask [B, 1, T, H, W], None for all); the others stay as they are."""
    present = torch.ones_like(frames[:, :1]) if mask is None else mask.to(frames.dtype)
    total, weight = linear(frames * present), linear(present)
    if mask is None:
        return total / weight
    return torch.where(mask, total / torch.where(mask, weight, 1.0), frames)


def _weights(places: Sequence[float], sigmas: Sequence[float], like: Tensor, each: bool = False) -> Tensor:
    """Gaussian weights with peak 1 between places: [n, n] with a sigma for every row, or `each` sigma's own [len(sigmas), n, n]."""
    where = torch.tensor(list(places), dtype=like.dtype, device=like.device)
    widths = torch.tensor(list(sigmas), dtype=like.dtype, device=like.device).clamp(min=SHARP)
    widths = widths.view(-1, 1, 1) if each else widths.view(-1, 1)
    return torch.exp(-0.5 * ((where[:, None] - where) / widths) ** 2)
