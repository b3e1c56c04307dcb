"""Single tokens of the packed past: where they lie in the picture, and how strongly a gate weighs each.

A token of a segment covers a cube of latent cells, the kernel that embeds it (see models/packing.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isqrt, prod
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from ...models.attention.policy import AttentionPolicy
from ...models.packing import keep_tokens, pad_to_multiple
from .history import Context
from .regions.moving import changes, with_what_moves_along

# Frames, rows and columns of latent cells that a token covers.
KERNELS = {"4x": (4, 8, 8), "2x": (2, 4, 4), "start": (1, 2, 2), "last": (1, 2, 2)}
CHANGES = ("moving", "still")
DIFFERING = "differing"  # the choice that takes what two prompts are drawn differently in
WITH_MOTION = "mask_with_motion"  # the choice that takes what moves along with what lies under a mask
ALONG = "+motion"


def segment_latents(context: Context) -> dict[str, Tensor]:
    """The latents [B, 16, T, H, W] of each segment of the past that has any."""
    clean = context.clean
    parts = {
        "4x": context.clean_4x,
        "2x": context.clean_2x,
        "start": None if clean is None else clean[:, :, :1],
        "last": None if clean is None else clean[:, :, 1:],
    }
    return {name: part for name, part in parts.items() if part is not None and part.shape[2]}


def token_grid(name: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """How many tokens a segment's latents of a shape (T, H, W) have in time, in rows and in columns."""
    frames, rows, columns = (-(-size // step) for size, step in zip(shape, KERNELS[name], strict=True))
    return frames, rows, columns


def token_counts(context: Context) -> dict[str, int]:
    """How many tokens each segment has, image tokens included, before any is left out."""
    counts = {
        name: prod(token_grid(name, latents.shape[2:])) for name, latents in segment_latents(context).items()
    }
    if context.image_embeds is not None:
        counts["image"] = context.image_embeds.shape[1]
    return counts


def cells_to_tokens(cells: Tensor, name: str) -> Tensor:
    """The mean of a map of cells [B, T, H, W] over each token of a segment -> [B, L]."""
    kernel = KERNELS[name]
    return F.avg_pool3d(pad_to_multiple(cells[:, None].float(), kernel), kernel).flatten(1)


def tokens_to_cells(tokens: Tensor, name: str, shape: tuple[int, int, int]) -> Tensor:
    """Every cell's token: a map [B, L] of a segment's tokens -> [B, T, H, W] of its latents' shape (T, H, W)."""
    in_time, down, _ = token_grid(name, shape)
    grid = rearrange(tokens, "b (t h w) -> b t h w", t=in_time, h=down)
    frames, rows, columns = KERNELS[name]
    cells = repeat(grid, "b t h w -> b (t kt) (h kh) (w kw)", kt=frames, kh=rows, kw=columns)
    return cells[:, : shape[0], : shape[1], : shape[2]]


def mask_cells(mask: Tensor, height: int, width: int) -> Tensor:
    """Masks of the picture [N, H', W'] or [H', W'] in [0, 1] as one map [height, width]: where any of them is white.

    Raises ValueError for a mask of another shape, or with NaN in it.
    """
    if mask.ndim not in (2, 3) or not mask.numel():
        raise ValueError(
            f"mask is {list(mask.shape)}; connect a MASK of the picture, [height, width] or [N, height, width]."
        )
    if not bool(mask.isfinite().all()):
        raise ValueError("mask holds NaN or infinity; connect one with values from 0 (black) to 1 (white).")
    united = mask.reshape(-1, *mask.shape[-2:]).amax(dim=0)[None, None].float()
    resized = F.interpolate(united, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized[0, 0].clamp(0, 1)


def changing_cells(segments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How far each cell of the remembered frames is from their mean, [B, T, H, W] in [0, 1] by segment.

    1 is the standard deviation over the picture of a video's mean frame, or more. Empty frames count for nothing and get 0.
    """
    moved, _ = changes(segments)
    distance = moved.square().mean(dim=1).sqrt()
    parts = torch.split(distance.clamp(max=1), [part.shape[2] for part in segments.values()], dim=1)
    return dict(zip(segments, parts))


def moving_with(mask: str) -> str:
    """The key of an attached mask, marked so that what moves along with what lies under it counts too."""
    return mask + ALONG


def mask_weights(context: Context, mask: Tensor, *, with_motion: bool = False) -> dict[str, Tensor]:
    """How far each token lies under masks of the picture (see mask_cells), [1, L] in [0, 1] by segment.

    With motion what moves along with what lies under them counts too (see with_what_moves_along), [B, L].
    """
    segments = segment_latents(context)
    if not segments:
        return weights_of_cells({}, context.image_embeds)
    first = next(iter(segments.values()))
    region = mask_cells(mask.to(first.device), *first.shape[-2:])[None]
    if with_motion:
        region = with_what_moves_along(segments, region[0])
    cells = {name: region[:, None].expand(-1, part.shape[2], -1, -1) for name, part in segments.items()}
    return weights_of_cells(cells, context.image_embeds)


def change_weights(context: Context, weighing: str) -> dict[str, Tensor]:
    """How much each token moves over the remembered frames (see changing_cells), or how still it stands: [B, L] by segment."""
    segments = segment_latents(context)
    cells = changing_cells(segments) if segments else {}
    if weighing == "still":
        cells = {name: 1 - part for name, part in cells.items()}
    return weights_of_cells(cells, context.image_embeds)


def token_weights(context: Context, weighing: str, attachments: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights M in [0, 1] of the tokens that are packed, [B or 1, L] by segment.

    `weighing` is one of CHANGES, the name of a concept that was looked for, or the key of an attached mask, as it is or marked by
    `moving_with`.
    """
    if weighing in CHANGES:
        weights: Mapping[str, Tensor] = change_weights(context, weighing)
    elif weighing in context.concepts:
        weights = concept_tokens(context, weighing)
    else:
        mask = attachments[weighing.removesuffix(ALONG)]
        weights = mask_weights(context, mask, with_motion=weighing.endswith(ALONG))
    return {name: keep_tokens(part, context.tokens.get(name)) for name, part in weights.items()}


def concept_tokens(context: Context, concept: str) -> Mapping[str, Tensor]:
    """The weights [B, L] by segment of a concept that was looked for in this past.

    Raises ValueError where a technique has packed other tokens since.
    """
    weights, counts = context.concepts[concept], token_counts(context)
    for name, part in weights.items():
        if name in counts and part.shape[1] != counts[name]:
            raise ValueError(
                f"the {name} part of the past had {part.shape[1]} tokens when a concept was looked for in it and has "
                f"{counts[name]} now; give the technique that packs it anew the whole window of t, from 1 to 0."
            )
    return weights


def weights_of_cells(cells: Mapping[str, Tensor], image_embeds: Tensor | None) -> dict[str, Tensor]:
    """Maps of cells [B, T, H, W] as weights of tokens [B, L], by segment. Image tokens are a square grid over the start frame; where they are none, each weighs 1."""
    weights = {name: cells_to_tokens(part, name) for name, part in cells.items()}
    if image_embeds is not None:
        side = isqrt(image_embeds.shape[1])
        if "start" in cells and side * side == image_embeds.shape[1]:
            grid = F.interpolate(
                cells["start"].float(), (side, side), mode="bilinear", align_corners=False, antialias=True
            )
            weights["image"] = grid.flatten(1)
        else:
            weights["image"] = image_embeds.new_ones(1, image_embeds.shape[1], dtype=torch.float32)
    return weights


def weigh_tokens(
    policy: AttentionPolicy | None, context: Context, attachments: Mapping[str, Any]
) -> AttentionPolicy | None:
    """The policy with the weights that its token rules need for a packed past; the same one where it has no such rule."""
    if policy is None or not policy.by_token:
        return policy
    sources = dict.fromkeys(rule.source for rule in policy.by_token)
    weights = {source: token_weights(context, source, attachments) for source in sources}
    return replace(policy, by_token=tuple(rule.weighed(weights[rule.source]) for rule in policy.by_token))
