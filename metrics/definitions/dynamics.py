"""Intentional dynamics (DDI): motion that the new prompt asks for, less motion that it does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, finite, mean, pieces
from ..measuring.evidence import Evidence
from ..results import Metric, undefined
from ..switches import Windows, too_little_to_compare

PENALTY = 1.0
CUT = 5.0  # times the usual change around it
AROUND = 4  # pairs on either side
MOST_BLOCKINESS = 0.84  # levels of 255; above it motion is that of compression's blocks
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
    """Motion that the new prompt asks for, less motion that it does not.

    The mean over half seconds of p min(d, d_R) - penalty ((1 - p) d + p max(d - d_R, 0)), where d is the mean flow
    degree of a piece (1 = what VBench calls dynamic), p the mean share of the new state (the curve of STF) and d_R
    the mean flow degree of the reference (1 without one). 0: a frozen video; positive: it moves, at most as much as
    the reference, where the new prompt is seen; negative: it moves elsewhere or too much. High is good. Not valid
    where flow or share are unknown, or where a window is missing or too short. The founding value has
    two means: that of the motion of the pieces with p >= 0.5, less `penalty` times that of the others (0 without any). The curve is the value of each pair of
    frames, at its first frame.

    flow: flow degree of neighbouring frames [T-1]. probability: share of the new state [T].
    change: difference of neighbouring frames [T-1], in which cuts are found; pairs at a cut and next to it are left
    out, with all of the `stride` frames between which the flow is one. reference: flow degree of the reference [n].
    length: frames of a piece; None is half a second. Raises ValueError where flow and frames do not fit, and for a
    negative penalty.
    """
    if not penalty >= 0:
        raise ValueError(f"penalty is {penalty}; give the lambda of DDI, 0 or more (usual: 1).")
    flow, probability = np.asarray(flow, np.float64), np.asarray(probability, np.float64)
    if len(flow) != max(len(probability) - 1, 0):
        raise ValueError(f"{len(probability)} frames have {len(probability) - 1} flows, but got {len(flow)}.")
    if (reason := too_little_to_compare(windows)) is not None:
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
    founding = _or_zero(mean(d[p >= 0.5])) - penalty * _or_zero(mean(d[p < 0.5]))
    if not np.isfinite(usual):
        return undefined("the motion of the reference is unknown", founding)
    curve = np.full(len(probability), np.nan)
    pairs = slice(start, end - 1)
    curve[pairs] = _balance(probability[pairs], kept[pairs], usual, penalty)
    details = {"degree": float(d.mean()), "reference": usual}
    return Metric(
        value=float(_balance(p, d, usual, penalty).mean()),
        founding=founding,
        valid=True,
        curve=curve,
        details=details,
    )


def score_dynamics(evidence: Evidence, fidelity: Metric) -> Metric:
    """DDI of a switch; `fidelity` is its STF."""
    if fidelity.curve is None:
        return undefined(fidelity.reason)
    reference = evidence.reference
    blocks = mean(evidence.measured.blockiness, evidence.windows.after)
    metric = intentional_dynamics(
        evidence.measured.flow,
        fidelity.curve,
        evidence.windows,
        change=evidence.measured.change,
        stride=evidence.measured.flow_stride,
        penalty=evidence.penalty,
        reference=None if reference is None else reference.measurements.flow,
    )
    if blocks > MOST_BLOCKINESS and metric.valid:
        return metric.but(f"it is compressed so strongly (blockiness {blocks:.2f}) that its blocks move, too")
    return metric


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
    found: Array = (change > CUT * usual[: len(change)]) & (change > CUT_SHARE * largest)
    return found


def _near(flags: Array, stride: int) -> Array:
    """The flags, those beside them, and all of the same stretch of `stride` frames."""
    wide = np.pad(flags, 1)
    near = wide[:-2] | wide[1:-1] | wide[2:]
    starts = np.arange(0, len(near), stride)
    return np.repeat(np.logical_or.reduceat(near, starts), stride)[: len(near)] if len(near) else near


def _or_zero(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _balance(p: Array, d: Array, usual: float, penalty: float) -> Array:
    aligned = p * np.minimum(d, usual)
    balance: Array = aligned - penalty * ((1 - p) * d + p * np.maximum(d - usual, 0))
    return balance
