"""Drift: how far exposure, colour and sharpness move while the prompt stays the same.

All are start-end contrasts, after the measure of drift of FramePack's paper (Zhang and Agrawala 2025, arXiv 2504.12626):
the mean over the last 15 % of the frames against that over the first 15 %.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, finite, floats
from ..colour import lab
from ..measuring.evidence import Evidence
from ..measuring.measurements import Measurements
from ..results import Metric, undefined
from ..switches import Windows, too_little_to_compare

SHARE = 0.15  # of the frames, at either end

Span = tuple[int, int]


def exposure_drift(colour: ArrayLike, span: Span) -> Metric:
    """How far lightness moves over a half-open range of frames: |L*_end - L*_start|, 0..100. Low is good.

    The curve is the distance of each frame from the start. details: change, which is positive where it becomes
    lighter. Not valid where an end has no finite frame. colour: mean sRGB of frames [T,3] in 0..1.
    """
    return _contrast(lab(colour)[:, :1], span, "change")


def colour_drift(colour: ArrayLike, span: Span) -> Metric:
    """How far the mean colour moves, lightness aside: the distance of (a*, b*) at the end from that at the start.

    Low is good; 2 to 3 is just visible. The curve is the distance of each frame from the start. details: the changes
    a (towards red) and b (towards yellow). Not valid where an end has no finite frame. colour: mean sRGB [T,3] in 0..1.
    """
    return _contrast(lab(colour)[:, 1:], span, "a", "b")


def sharpness_drift(sharpness: ArrayLike, span: Span) -> Metric:
    """How far sharpness moves, in powers of two: |log2(end / start)|. Low is good; 1 is half or twice as sharp.

    The curve is the distance of each frame from the start. details: change, which is negative where it becomes
    blurred. Not valid where an end has no finite frame. sharpness: of frames [T], above 0.
    """
    return _contrast(np.log2(np.maximum(floats(sharpness), 1e-9))[:, None], span, "change")


def score_exposure_drift(evidence: Evidence, arrival: Metric) -> Metric:
    """Exposure drift after a switch, `arrival` being its TL90."""
    return _score(evidence, arrival, lambda measured, span: exposure_drift(measured.colour, span))


def score_colour_drift(evidence: Evidence, arrival: Metric) -> Metric:
    """Colour drift after a switch, `arrival` being its TL90."""
    return _score(evidence, arrival, lambda measured, span: colour_drift(measured.colour, span))


def score_sharpness_drift(evidence: Evidence, arrival: Metric) -> Metric:
    """Sharpness drift after a switch, `arrival` being its TL90."""
    return _score(evidence, arrival, lambda measured, span: sharpness_drift(measured.sharpness, span))


def unchanging(windows: Windows, arrival: Metric) -> Span:
    """The frames after a switch in which nothing is meant to change: from the arrival on, where one is known.

    Without one the settled frames, in which a change has come or will not come.
    """
    if not arrival.valid or arrival.censored:
        return windows.settled
    return windows.after[0] + round(arrival.value), windows.after[1]


def _score(evidence: Evidence, arrival: Metric, compute: Callable[[Measurements, Span], Metric]) -> Metric:
    if (reason := too_little_to_compare(evidence.windows)) is not None:
        return undefined(reason)
    return compute(evidence.measured, unchanging(evidence.windows, arrival))


def _contrast(values: Array, span: Span, *names: str) -> Metric:
    """The length of the difference of mean values [T,D] at the end of a range from those at its start."""
    start, end = span
    count = max(round(SHARE * (end - start)), 1)
    first, last = finite(values[start : start + count]), finite(values[max(end - count, start) : end])
    if not len(first) or not len(last):
        return undefined("no frame at the beginning or the end is finite")
    change = last.mean(0) - first.mean(0)
    curve = np.full(len(values), np.nan)
    curve[start:end] = np.linalg.norm(values[start:end] - first.mean(0), axis=1)
    details = {"frames": float(end - start), **dict(zip(names, map(float, change)))}
    return Metric(
        value=float(np.linalg.norm(change)), founding=np.nan, valid=True, curve=curve, details=details
    )
