"""Temporal flickering: how little neighbouring frames differ."""

from __future__ import annotations

from numpy.typing import ArrayLike

from ...arrays import floats
from ...measuring.evidence import Evidence
from ...results import Metric, undefined
from .neighbours import Span, mean_of_neighbours


def temporal_flickering(pixel_change: ArrayLike, span: Span) -> Metric:
    """1 less the mean absolute difference of neighbouring frames over a half-open range of frames, 0..1. High is good.

    The curve is 1 less the difference of each frame to the one before. It is 1 for a still; any motion lowers it, which
    is why VBench asks for videos of scenes that stand still. Not valid for fewer than two frames, or where no pair
    of them is finite.

    pixel_change: mean absolute difference of neighbouring frames [T-1], over all pixels and channels of values in 0..1.
    """
    return mean_of_neighbours(1 - floats(pixel_change), span)


def score_temporal_flickering(evidence: Evidence) -> Metric:
    """Temporal flickering from a switch to the next one."""
    if not len(evidence.measured.pixel_change):
        return undefined("nothing is known of how neighbouring frames differ")
    return temporal_flickering(evidence.measured.pixel_change, evidence.windows.after)
