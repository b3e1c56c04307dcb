"""Brightness, saturation, sharpness, noise and blocks of frames."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..arrays import Array

LUMA = (0.2126, 0.7152, 0.0722)  # BT.709
BLOCK = 8  # px, of which H.264 makes up its pictures
FAINT = 6.0  # levels of 255: the steps that compression leaves
SKIP = 3  # every so many lines tell how blocky a picture is; prime to the blocks, so that no row of them is left out
TILE, TILES = 32, 4  # px and number a side, of the places where noise is measured
# What a normal distribution's median of absolute values is to its standard deviation, and the length of the mask.
NOISE_SCALE = 0.6744898 * 6


def noise(frames: Tensor) -> Array:
    """Standard deviation [N] of the noise of frames [N,H,W,3], float in 0..1 or uint8, in values 0..1.

    The green channel under Immerkaer's mask (1996), which lines and gradients do not excite, and the median
    instead of the mean, which texture hardly moves; at full size, in tiles over the whole picture.
    """
    height, width = frames.shape[1:3]
    if min(height, width) < 3:
        return np.full(len(frames), np.nan)
    (rows, tall), (columns, wide) = _tiles(height), _tiles(width)
    green = frames[..., 1][:, rows][:, :, columns]
    green = green.float() / 255 if green.dtype == torch.uint8 else green
    count, height, width = green.shape
    tiles = green.reshape(count, height // tall, tall, width // wide, wide)
    response = tiles.diff(n=2, dim=2).diff(n=2, dim=4).abs().flatten(1)
    deviation: Array = response.median(1).values.double().numpy() / NOISE_SCALE
    return deviation


def _tiles(length: int) -> tuple[Tensor, int]:
    """Indices along a side that make up tiles spread over it, and the length of a tile."""
    tile = min(TILE, length)
    starts = torch.linspace(0, length - tile, min(TILES, length // tile)).round().long()
    return (starts[:, None] + torch.arange(tile)).flatten(), tile


def pixel_change(before: Tensor, after: Tensor) -> Array:
    """Mean absolute difference [N] of frames [N,H,W,3] to others, float in 0..1 or uint8, in values 0..1."""
    levels = 255.0 if before.dtype == torch.uint8 else 1.0
    steps = (after.short() - before.short()).float() if levels > 1 else after - before
    change: Array = steps.abs().mean((1, 2, 3)).double().numpy() / levels
    return change


def blockiness(frames: Tensor) -> Array:
    """How much larger steps across the borders of blocks of 8 px are than others, [N], in 8-bit levels.

    frames: [N,H,W,3], float in 0..1 or uint8; their green channel is read. Steps count for 6 levels at most, so that an
    edge of what is shown, which may lie at a border, weighs little. About 0 to 0.8 up to H.264's crf 40, and 0.9 and
    more from crf 45 on. Blocks of pictures that were resized or cropped since are not found. NaN in pictures that have
    no border.
    """
    green = frames[..., 1]
    levels = 1.0 if frames.dtype == torch.uint8 else 255.0
    across, down = green[:, ::SKIP].float().diff(dim=2), green[:, :, ::SKIP].float().diff(dim=1)
    steps = [(levels * part).abs().clamp(max=FAINT) for part in (across, down)]
    excess: Array = (
        torch.stack([_excess_at_borders(steps[0].mean(1)), _excess_at_borders(steps[1].mean(2))])
        .mean(0)
        .double()
        .numpy()
    )
    return excess


def _excess_at_borders(steps: Tensor) -> Tensor:
    """Mean step [N] at the borders of blocks less that elsewhere, of steps [N,n] between n + 1 px."""
    at_border = torch.arange(steps.shape[1]) % BLOCK == BLOCK - 1
    return steps[:, at_border].mean(1) - steps[:, ~at_border].mean(1)


def image_statistics(small: Tensor) -> dict[str, Array]:
    """Brightness, saturation and sharpness [N], and the mean colour [N,3], of pictures [N,3,h,w]."""
    red, green, blue = (small[:, channel].contiguous() for channel in range(3))
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    most, least = (pick(pick(red, green), blue) for pick in (torch.maximum, torch.minimum))
    padded = F.pad(luma[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    around = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    statistics = {
        "brightness": luma.mean((1, 2)),
        "saturation": (most - least).mean((1, 2)),
        "sharpness": (around - 4 * luma).square().mean((1, 2)).sqrt(),
        "colour": small.mean((2, 3)),
    }
    return {name: values.numpy() for name, values in statistics.items()}


def finite_frames(frames: Tensor) -> Array:
    """Which frames [N,H,W,3] hold neither NaN nor infinite values."""
    if not frames.is_floating_point():
        return np.ones(len(frames), bool)
    return torch.isfinite(frames.sum((1, 2, 3))).numpy()  # a sum is the quickest witness
