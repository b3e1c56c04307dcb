"""Cut a subject out of each frame, by the box in which it was detected."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..arrays import Array
from ..features.base import Extractor
from ..features.frames import planes

SIDE = 224  # px: what most image models read


def subject_features(frames: Tensor, boxes: Array, extractor: Extractor) -> Array:
    """Features [N,D] of what lies in one box [4] of each frame [N,H,W,3], float or uint8; NaN without a box.

    boxes: [N,4], left, top, right, bottom as shares of the picture. A box is widened to a square as far as the picture
    reaches, so that nothing is squeezed, and brought to 224 px.
    """
    known = np.isfinite(boxes).all(1)
    cut = [_cut(frame, box) for frame, box in zip(frames[torch.from_numpy(known)], boxes[known])]
    if not cut:
        blank = np.asarray(extractor.images(np.zeros((1, SIDE, SIDE, 3), np.float32)))
        return np.full((len(frames), blank.shape[1]), np.nan)
    found = np.asarray(extractor.images(torch.stack(cut).numpy()), np.float64)
    features = np.full((len(frames), found.shape[1]), np.nan)
    features[known] = found
    return features


def _cut(frame: Tensor, box: Any) -> Tensor:
    """The square around a box of a frame [H,W,3], as floats [SIDE,SIDE,3]."""
    height, width = frame.shape[:2]
    left, top, right, bottom = (float(edge) * side for edge, side in zip(box, (width, height, width, height)))
    side = max(right - left, bottom - top, 1.0)
    rows, columns = (
        _span(low + high, side, length) for low, high, length in ((top, bottom, height), (left, right, width))
    )
    picture = planes(frame[rows, columns][None])
    return F.interpolate(picture, size=(SIDE, SIDE), mode="bilinear", antialias=True)[0].movedim(0, -1)


def _span(twice_centre: float, side: float, length: int) -> slice:
    """The pixels of an axis of `length` within half a side of a centre, at least one."""
    first = min(max(round((twice_centre - side) / 2), 0), length - 1)
    return slice(first, max(min(round((twice_centre + side) / 2), length), first + 1))
