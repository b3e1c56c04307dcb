"""FramePack's context: past latents in tiers of falling detail, packed before the noisy window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from .layers.rope import rope_map


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Frames that are packed by one kernel: the noisy window, or a part of the past.

    argument: the forward's argument that they came in.
    ratio: how coarsely they are packed: 1, 2 or 4.
    latents: [B, C, T, H, W].
    indices: their places on the time axis, int64 [T] or [B, T]; None where the caller left them out.
    segments: what their tokens are called; with two names, the first frame has the first and all others the second.
    """

    argument: str
    ratio: int
    latents: Tensor
    indices: Tensor | None
    segments: tuple[str, ...]

    @property
    def indices_argument(self) -> str:
        """The forward's argument that their places come in."""
        name = "latents" if self.argument == "x" else self.argument
        return name.replace("latents", "latent") + "_indices"

    @property
    def kernel(self) -> tuple[int, int, int]:
        """The frames, rows and columns of latents that a token covers."""
        return self.ratio, 2 * self.ratio, 2 * self.ratio

    def known_indices(self) -> Tensor:
        """Their places on the time axis; raises ValueError where they are missing."""
        if self.indices is None:
            raise ValueError(
                f"{self.argument} has {self.latents.shape[2]} frames, but {self.indices_argument} is missing"
            )
        return self.indices


def present_tiers(
    *tiers: tuple[str, int, Tensor | None, Tensor | None, tuple[str, ...]],
) -> list[Tier]:
    """Tiers of (argument, ratio, latents, indices, segments), without those that have no latents."""
    return [
        Tier(argument=argument, ratio=ratio, latents=latents, indices=indices, segments=segments)
        for argument, ratio, latents, indices, segments in tiers
        if latents is not None and latents.numel() > 0
    ]


def check_tier(tier: Tier, x: Tensor) -> None:
    """Raises ValueError where a tier does not fit the window x [B, C, T, H, W] or its indices the tier."""
    shape, window = tuple(tier.latents.shape), tuple(x.shape)
    if len(shape) != 5 or (shape[0], shape[1], *shape[3:]) != (window[0], window[1], *window[3:]):
        b, c, _, h, w = window
        raise ValueError(f"{tier.argument} must be [{b}, {c}, T, {h}, {w}] to go with x, got {list(shape)}")
    indices = tier.known_indices()
    allowed = ([shape[2]], [1, shape[2]], [shape[0], shape[2]])
    if list(indices.shape) not in allowed:
        raise ValueError(
            f"{tier.indices_argument} must be [{shape[2]}] or [{shape[0]}, {shape[2]}], "
            f"one index per frame of {tier.argument}; got {list(indices.shape)}"
        )
    if indices.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"{tier.indices_argument} came as {indices.dtype}, which counts frames inexactly; pass int64"
        )


def pad_to_multiple(x: Tensor, multiples: tuple[int, int, int]) -> Tensor:
    """Repeats the last frame, row and column until each size is a multiple: [B, C, T, H, W] stays 5D."""
    frames, rows, columns = (-size % multiple for size, multiple in zip(x.shape[-3:], multiples))
    if not (frames or rows or columns):
        return x
    return F.pad(x, (0, columns, 0, rows, 0, frames), mode="replicate")


def pack_frames(tier: Tier, kept: Mapping[str, Tensor]) -> Tier | None:
    """The tier without the frames of which no token is kept, so that they are not even embedded; None for no frames."""
    names = tuple(name for name in tier.segments if name not in kept or kept[name].shape[-1])
    if names == tier.segments:
        return tier
    if not names:
        return None
    frames = slice(1) if names[0] == tier.segments[0] else slice(1, None)
    return replace(
        tier, latents=tier.latents[:, :, frames], indices=tier.known_indices()[..., frames], segments=names
    )


def split_segments(tier: Tier, grid: int) -> Iterator[tuple[str, slice]]:
    """(segment, token range) of a tier whose frames have `grid` tokens each."""
    first = grid if len(tier.segments) == 2 else 0
    if first:
        yield tier.segments[0], slice(first)
    yield tier.segments[-1], slice(first, None)


def keep_tokens(x: Tensor, kept: Tensor | None) -> Tensor:
    """Some tokens of x [B or 1, L, ...]: kept [B or 1, K] int64 says which, None all. A batch that repeats gets kept repeated."""
    if kept is None:
        return x
    if kept.shape[0] == 1:
        return x.index_select(1, kept[0])
    batch = max(x.shape[0], kept.shape[0])
    rows = kept.repeat(batch // kept.shape[0], 1)
    index = rows.view(*rows.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
    return x.expand(batch, *[-1] * (x.ndim - 1)).gather(1, index)


def embed(latents: Tensor, kernel: tuple[int, int, int], project: nn.Module, dtype: torch.dtype) -> Tensor:
    """Tokens of a tier's latents by its kernel: [B, C, T, H, W] -> [B, L, D]."""
    grid = project(pad_to_multiple(latents.to(dtype), kernel))
    tokens: Tensor = rearrange(grid, "b d t h w -> b (t h w) d")
    return tokens


def embed_places(
    indices: Tensor,
    ratio: int,
    *,
    height: int,
    width: int,
    axes_dim: tuple[int, ...],
    theta: float,
    thetas: Tensor | None = None,
) -> Tensor:
    """Rotations [1 or B, L, D / 2, 2] of a tier's tokens: a coarse one takes the mean of what it covers.

    indices: the places of its frames on the time axis, [T] or [B, T].
    ratio: how coarsely they are packed.
    height, width: tokens of a frame at full resolution.
    With `thetas` [heads] for the time axis every head has its own: [1 or B, L, heads, D / 2, 2].
    """
    frame_theta = None
    indices = indices if indices.ndim == 2 else indices[None]
    if thetas is not None:
        frame_theta = thetas.repeat(indices.shape[0])[:, None, None]
        indices = repeat(indices, "b t -> (b n) t", n=len(thetas))
    grid = rope_map(
        indices,
        height=height,
        width=width,
        axes_dim=axes_dim,
        theta=theta,
        device=indices.device,
        frame_theta=frame_theta,
    )
    if ratio > 1:
        grid = average(grid, ratio)
    if thetas is None:
        places: Tensor = rearrange(grid, "b t h w d c -> b (t h w) d c")
    else:
        places = rearrange(grid, "(b n) t h w d c -> b (t h w) n d c", n=len(thetas))
    return places


def average(grid: Tensor, ratio: int) -> Tensor:
    """Mean over cubes of `ratio` frames, rows and columns: [B, T, H, W, D, 2] -> [B, T', H', W', D, 2]."""
    maps = pad_to_multiple(rearrange(grid, "b t h w d c -> b (d c) t h w"), (ratio, ratio, ratio))
    averaged: Tensor = rearrange(F.avg_pool3d(maps, ratio), "b (d c) t h w -> b t h w d c", c=2)
    return averaged


def concatenate_places(places: Sequence[Tensor]) -> Tensor:
    """Joins rotations along the tokens; one row stands for the whole batch until a tier's rows differ."""
    batch = max(pe.shape[0] for pe in places)
    return torch.cat([pe.expand(batch, *[-1] * (pe.ndim - 1)) for pe in places], dim=1)


def keep_image(image_embeds: Tensor | None, kept: Tensor | None) -> Tensor | None:
    """The image tokens [B, N, D] that are kept (see keep_tokens); None for none."""
    if image_embeds is None or kept is None:
        return image_embeds
    return keep_tokens(image_embeds, kept) if kept.shape[-1] else None
