"""What both axes do with the values of neighbouring frames."""

from __future__ import annotations

import numpy as np

from ...arrays import Array, mean
from ...results import Metric, undefined

LEAST_FRAMES = 2

Span = tuple[int, int]


def mean_of_neighbours(values: Array, span: Span) -> Metric:
    """The mean of those values [T-1] of neighbouring frames that lie within a half-open range of frames.

    The curve has the value of each frame and the one before. Not valid for fewer than two frames, or without a finite value.
    """
    start, end = span
    if end - start < LEAST_FRAMES:
        return undefined("fewer than two frames follow before the next switch or the end")
    curve = np.full(len(values) + 1, np.nan)
    curve[start + 1 : end] = values[start : end - 1]
    found = mean(curve)
    if not np.isfinite(found):
        return undefined("no two neighbouring frames are finite", curve=curve)
    return Metric(
        value=found, founding=np.nan, valid=True, curve=curve, details={"frames": float(end - start)}
    )
