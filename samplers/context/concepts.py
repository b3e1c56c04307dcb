"""Which tokens of the packed past show a concept, from how much each of them attends to its words, or what two prompts differ in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from .history import Context
from .indices import Direction
from .regions.differing import difference_cells
from .tokens import (
    KERNELS,
    cells_to_tokens,
    segment_latents,
    token_counts,
    token_grid,
    tokens_to_cells,
    weights_of_cells,
)

# The segments at full resolution, whose tokens are small enough to lie inside of a thing or outside of it.
FINE = ("start", "last")
# What a token and its neighbours count for one another along each axis, of 4.
BINOMIAL = (1.0, 2.0, 1.0)


def concept_weights(shares: Mapping[str, Tensor], context: Context, most: float = 1.0) -> dict[str, Tensor]:
    """Weights M of all tokens, 1 where the concept lies and 0 elsewhere, [B, L] by segment; image tokens between them.

    `shares` [B, L] say how much each token attends to the concept's words (see ConceptProbe). The shares of the
    start frame and of the last ones are smoothed over neighbouring tokens and divided in two by Otsu's threshold (1979), video by video. Coarser history is not asked by
    itself: of its tokens those count which cover a part of the picture that the concept fills in one of these frames. Empty
    frames show nothing, and one of these two that `shares` leave out does not either. Where more than `most` of the tokens of these
    frames lie above the threshold, these are divided once more, and the upper group counts.
    """
    latents = segment_latents(context)
    shown = {name: _filled(latents[name]) & (name in shares) for name in FINE if name in latents}
    asked = {name: shares.get(name, part.float()) for name, part in shown.items()}
    smooth = {name: smoothed(part, _shape(latents[name])) for name, part in asked.items()}
    chosen = _chosen(smooth, shown, most)
    cells = {name: tokens_to_cells(part, name, _shape(latents[name])) for name, part in chosen.items()}
    if not cells:
        like = next(part for part in (*latents.values(), context.image_embeds) if part is not None)
        return {name: like.new_zeros(1, count) for name, count in token_counts(context).items()}
    picture = torch.cat(list(cells.values()), dim=1).amax(dim=1)
    coarse = {name: _spread(picture, name, part) for name, part in latents.items() if name not in FINE}
    return weights_of_cells({**coarse, **cells}, context.image_embeds)


def difference_weights(new: Tensor, old: Tensor, context: Context) -> dict[str, Tensor]:
    """Weights M of all tokens, 1 where two predictions differ and 0 elsewhere, [B, L] by segment; image tokens between them.

    `new` and `old` are x0 [B, 16, T, H, W] under two prompts. The score of a token is `difference_cells` at its place, smoothed and
    divided in two as that of a concept (see concept_weights). Where a video is generated backward the start frame shows what the
    section itself is to show, and nothing that was left: its tokens and the image tokens get 0.
    """
    scores = cells_to_tokens(difference_cells(new, old)[:, None], "last")
    latents = segment_latents(context)
    seen = FINE if context.indices.direction is Direction.FORWARD else ("last",)
    shares = {name: scores.repeat(1, latents[name].shape[2]) for name in seen if name in latents}
    return concept_weights(shares, context)


def concept_maps(context: Context) -> dict[str, dict[str, list[Any]]]:
    """Where each concept was found, as plain data: 0 or 1 for the tokens of the start frame and of the last one.

    By concept and segment a list of videos, each of rows of tokens.
    """
    latents = segment_latents(context)
    return {
        concept: {name: _maps(weights[name], latents[name]) for name in FINE if name in latents}
        for concept, weights in context.concepts.items()
    }


def smoothed(shares: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Shares [B, L] of a fine segment of frames, rows and columns of cells, each frame under a binomial filter of 3 x 3 tokens."""
    frames, rows, columns = token_grid("last", shape)
    grid = shares.reshape(-1, 1, rows, columns)
    line = torch.tensor(BINOMIAL, dtype=shares.dtype, device=shares.device) / 4
    kernel = line[:, None] * line
    filtered = F.conv2d(F.pad(grid, (1, 1, 1, 1), mode="replicate"), kernel[None, None])
    return filtered.reshape(-1, frames * rows * columns)


def otsu_threshold(values: Tensor, counted: Tensor) -> Tensor:
    """The value [B, 1] that best divides those of `values` [B, L] that are `counted` (bool [B, L]) into two groups.

    Best is the largest n1 n2 (mean1 - mean2)^2 (Otsu 1979), over all values as thresholds: what is above one belongs to the
    second group. Infinity where fewer than two different values are counted. Computed on the CPU: Apple's GPUs have no float64.
    """
    device, values, counted = values.device, values.cpu(), counted.cpu()
    ordered, order = values.masked_fill(~counted, torch.inf).sort(dim=1)
    number = counted.gather(1, order).float().cumsum(dim=1)
    total = ordered.masked_fill(ordered.isinf(), 0).double().cumsum(dim=1)
    other = number[:, -1:] - number
    apart = total / number.clamp(min=1) - (total[:, -1:] - total) / other.clamp(min=1)
    between = number * other * apart.square()
    threshold = ordered.gather(1, between.argmax(dim=1, keepdim=True))
    varied = between.amax(dim=1, keepdim=True) > 0
    return threshold.masked_fill(~varied, torch.inf).to(device)


def _chosen(shares: Mapping[str, Tensor], shown: Mapping[str, Tensor], most: float) -> dict[str, Tensor]:
    """Which tokens of the fine segments lie above the threshold of them all, 1 or 0; above a second one where these are too many."""
    if not shares:
        return {}
    values = torch.cat(list(shares.values()), dim=1)
    counted = torch.cat([shown[name] for name in shares], dim=1)
    above = (values > otsu_threshold(values, counted)) & counted
    too_many = above.sum(dim=1, keepdim=True) > most * counted.sum(dim=1, keepdim=True)
    if too_many.any():
        above = torch.where(too_many, above & (values > otsu_threshold(values, above)), above)
    parts = torch.split(above.float(), [part.shape[1] for part in shares.values()], dim=1)
    return dict(zip(shares, parts))


def _filled(latents: Tensor) -> Tensor:
    """Which tokens of a fine segment belong to a frame that is not empty, bool [B, L]."""
    _, rows, columns = token_grid("last", latents.shape[2:])
    return (latents.abs().amax(dim=(1, 3, 4)) > 0).repeat_interleave(rows * columns, dim=1)


def _spread(picture: Tensor, name: str, latents: Tensor) -> Tensor:
    """A map of the picture [B, H, W] for all frames of a segment, each token as its largest cell: [B, T, H, W]."""
    _, rows, columns = KERNELS[name]
    largest = F.max_pool2d(picture[:, None], (rows, columns), ceil_mode=True)[:, 0]
    cells = repeat(largest, "b h w -> b t (h kh) (w kw)", t=latents.shape[2], kh=rows, kw=columns)
    return cells[..., : latents.shape[3], : latents.shape[4]]


def _maps(weights: Tensor, latents: Tensor) -> list[Any]:
    """The tokens [B, L] of a segment's last frame as [B][rows][columns] of whole numbers."""
    _, rows, columns = token_grid("last", latents.shape[2:])
    maps: list[Any] = weights[:, -rows * columns :].reshape(-1, rows, columns).int().tolist()
    return maps


def _shape(latents: Tensor) -> tuple[int, int, int]:
    frames, rows, columns = latents.shape[2:]
    return frames, rows, columns
