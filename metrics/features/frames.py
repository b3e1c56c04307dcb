"""Frames as tensors of one form, and at a smaller size."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

REDUCED_SIDE = 192  # px


def as_frames(frames: Any) -> Tensor:
    """Frames [N,H,W,3] as a tensor: float32 in 0..1, or uint8 in 0..255, which is faster to work on.

    Raises ValueError for other shapes and for other integers.
    """
    tensor: Tensor = torch.as_tensor(frames)
    if tensor.ndim != 4 or tensor.shape[-1] != 3 or 0 in tensor.shape[1:]:
        raise ValueError(
            f"frames must be [frames, height, width, 3], but got {list(tensor.shape)}: "
            "give RGB without alpha, and a single picture as a batch of one."
        )
    if tensor.dtype == torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        raise ValueError(f"frames are {tensor.dtype}: give floats in 0..1 or uint8 in 0..255.")
    return tensor.float()


def planes(frames: Tensor) -> Tensor:
    """Frames [N,H,W,3], float or uint8, as float32 [N,3,H,W] in 0..1."""
    frames = frames.movedim(-1, 1)
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames


def reduced(frames: Tensor, side: int = REDUCED_SIDE) -> Tensor:
    """Bring frames [N,H,W,3], float or uint8, down to a short side of `side` px: float32 [N,3,h,w] in 0..1.

    Bilinear with antialiasing; smaller frames keep their size. uint8 is rounded to 8 bits on the way, and much
    faster.
    """
    height, width = frames.shape[1:3]
    scale = side / min(height, width)
    if scale >= 1:
        return planes(frames)
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    if frames.dtype == torch.uint8 and frames.device.type != "cpu":
        frames = frames.float() / 255  # only the CPU resizes bytes
    small = F.interpolate(frames.movedim(-1, 1), size=size, mode="bilinear", antialias=True)
    return planes(small.movedim(1, -1))
