"""Intentional dynamics (DDI): motion that the new prompt asks for, less motion that it does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, finite, mean, pieces
from .results import Metric, undefined
from .stf import problem
from .switches import Windows

PENALTY = 1.0
CUT = 5.0  # times the usual change around it
AROUND = 4  # pairs on either side
CUT_SHARE = 0.25  # of the largest change


def intentional_dynamics(
    flow: ArrayLike,
    probability: ArrayLike,
    windows: Windows,
    *,
    change: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    penalty: float = PENALTY,
    length: int | None = None,
    stride: int = 1,
) -> Metric:
    """Mean over windows of p min(d, d_R) - penalty ((1 - p) d + p max(d - d_R, 0)); 0 for a frozen video.

    flow [T-1]: degree of motion between neighbouring frames, 1 = what counts as dynamic; d is its mean in a
    window of `length` frames (None: half a second), p that of `probability` [T] (the curve of STF). reference
    [n]: the same of R, whose mean is d_R (1 without). `change` [T-1]: difference of neighbouring frames, in
    which cuts are found; pairs at a cut and next to it are left out, with all of the `stride` frames between
    which the flow is one. Founding: mean motion where the new prompt prevails (p >= 0.5) less `penalty` times
    that elsewhere. The curve is the value of each pair, at its first frame.
    """
    flow, probability = np.asarray(flow, np.float64), np.asarray(probability, np.float64)
    if len(flow) != max(len(probability) - 1, 0):
        raise ValueError(f"{len(probability)} frames have {len(probability) - 1} flows, but got {len(flow)}.")
    if (reason := problem(windows)) is not None:
        return undefined(reason)
    kept = np.where(_near(cuts(change), stride), np.nan, flow) if change is not None else flow
    usual = 1.0 if reference is None else mean(reference)
    start, end = windows.after
    means = np.array(
        [
            (mean(probability, span), mean(kept[: end - 1], span))
            for span in pieces((start, end), windows.half if length is None else length)
        ]
    )
    p, d = means[np.isfinite(means).all(1)].T
    if not p.size:
        return undefined("motion or fidelity is unknown after the switch")
    founding = float((np.where(p >= 0.5, 1, -penalty) * d).mean())
    if not np.isfinite(usual):
        return undefined("the motion of the reference is unknown", founding)
    curve = np.full(len(probability), np.nan)
    pairs = slice(start, end - 1)
    curve[pairs] = _balance(probability[pairs], kept[pairs], usual, penalty)
    details = {"degree": float(d.mean()), "reference": usual}
    return Metric(float(_balance(p, d, usual, penalty).mean()), founding, True, curve=curve, details=details)


def cuts(change: ArrayLike) -> Array:
    """Which pairs of neighbouring frames [T-1] lie across a cut, bool [T-1].

    There the change is large, and many times that of the pairs around it: a fade or a motion goes on.
    """
    change = np.asarray(change, np.float64)
    around = np.pad(
        np.where(np.isfinite(change), change, 0.0), AROUND, mode="edge" if change.size else "constant"
    )
    usual = np.median(np.lib.stride_tricks.sliding_window_view(around, 2 * AROUND + 1), axis=1)
    largest = np.max(finite(change), initial=0.0)
    return (change > CUT * usual[: len(change)]) & (change > CUT_SHARE * largest)


def _near(flags: Array, stride: int) -> Array:
    """The flags, their neighbours, and all that was measured in one stretch of `stride` frames with these."""
    wide = np.pad(flags, 1)
    near = wide[:-2] | wide[1:-1] | wide[2:]
    starts = np.arange(0, len(near), stride)
    return np.repeat(np.logical_or.reduceat(near, starts), stride)[: len(near)] if len(near) else near


def _balance(p: Array, d: Array, usual: float, penalty: float) -> Array:
    aligned = p * np.minimum(d, usual)
    return aligned - penalty * ((1 - p) * d + p * np.maximum(d - usual, 0))
