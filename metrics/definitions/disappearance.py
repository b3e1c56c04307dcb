"""Disappearance fidelity (DF): whether what should be gone is gone, and stays so."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, finite, mean, runs
from ..measuring.evidence import Evidence
from ..results import Metric, undefined
from ..switches import Windows, too_little_to_compare

FREE_PERCENTILE = 95  # of the confidences on object-free frames
LEAST_THRESHOLD = 0.05
LEAST_RECALL = 0.8
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Threshold:
    """Where a detector's confidence divides seen from not seen.

    confidence: above it the object counts as seen.
    fpr: share of object-free frames that are above it nevertheless.
    calibrated: whether it comes from object-free frames.
    """

    confidence: float
    fpr: float = 0.0
    calibrated: bool = True


def calibrate(object_free: ArrayLike | None, confidence: float | None = None) -> Threshold:
    """The threshold from a detector's confidences [n] on frames without the object, at their 95th percentile.

    A given `confidence` is kept and only its false positives are counted. With neither it is 0.5,
    uncalibrated.
    """
    free = finite(np.asarray([] if object_free is None else object_free, np.float64).ravel())
    if not free.size:
        return Threshold(DEFAULT_THRESHOLD if confidence is None else confidence, calibrated=False)
    if confidence is None:
        confidence = max(float(np.percentile(free, FREE_PERCENTILE)), LEAST_THRESHOLD)
    return Threshold(confidence, float((free > confidence).mean()))


def disappearance_fidelity(
    confidence: ArrayLike,
    windows: Windows,
    *,
    fps: float,
    threshold: float | None = None,
    object_free: ArrayLike | None = None,
    floor: float | None = None,
) -> Metric:
    """Whether an object that should disappear is gone: 1 - clip((hits - fpr) / (recall - fpr), 0, 1).

    hits is the share of the settled frames after the switch in which the detector sees the object, recall that of
    the settled frames before, and fpr that of frames without the object. With a `floor` a frame counts for as much as is
    seen of the object: (confidence - threshold) / (usual - threshold), within 0..1, where usual is the median before
    the switch. 1: gone; 0: seen as often, or as much, as before. High is
    good. Not valid where recall is below 0.8 or not above fpr, or where a window is missing or too short. The curve
    is the confidence. The founding value is 1 less the mean confidence after the switch. details: the first frame
    without the object, and its longest reappearance.

    confidence: of a detector for the object [T], its best box in each frame. fps: frames per second.
    threshold: confidence above which the object counts as seen; None takes the 95th percentile of `object_free`.
    object_free: the detector's confidence on frames without the object [n]. floor: confidence from which on it says how
    much of the object is seen; it is the threshold where neither of the two is given. None where it says only whether.
    """
    confidence = np.asarray(confidence, np.float64)
    after = confidence[slice(*windows.after)]
    founding = 1 - mean(after)
    if (reason := too_little_to_compare(windows)) is not None:
        return undefined(reason, founding, confidence)
    limit = calibrate(object_free, threshold if object_free is not None or threshold is not None else floor)
    seen = np.where(np.isfinite(confidence), confidence > limit.confidence, np.nan)
    recall, share = mean(seen, windows.before), seen
    if floor is not None:
        share = _graded(confidence, limit.confidence, confidence[slice(*windows.before)])
    hits, whole = mean(share, windows.settled), mean(share, windows.before)
    details = {"hits": hits, "recall": recall, "fpr": limit.fpr, "threshold": limit.confidence}
    details |= _absence(seen[slice(*windows.after)], fps)
    if not np.isfinite(hits + recall):
        return undefined("no frame of a window is finite", founding, confidence, details)
    if recall < LEAST_RECALL or recall <= limit.fpr:
        reason = f"the detector sees the object in only {recall:.0%} of the frames before the switch"
        if recall >= LEAST_RECALL:
            reason = f"the detector sees the object in {limit.fpr:.0%} of the frames without it, too"
        return undefined(reason, founding, confidence, details)
    value = 1 - float(np.clip((hits - limit.fpr) / (whole - limit.fpr), 0, 1))
    reason = (
        ""
        if limit.calibrated or floor is not None
        else f"the threshold of {limit.confidence:g} is not calibrated"
    )
    return Metric(
        value=value, founding=founding, valid=True, reason=reason, curve=confidence, details=details
    )


def _graded(confidence: Array, threshold: float, before: Array) -> Array:
    """How much of the object is seen in each frame [T]: 0 at the threshold, 1 at the median of the frames before."""
    known = finite(before)
    usual = float(np.median(known)) if known.size else np.nan
    if not usual > threshold:
        return np.where(np.isfinite(confidence), confidence > threshold, np.nan)
    share: Array = np.clip((confidence - threshold) / (usual - threshold), 0, 1)
    return share


def score_disappearance(evidence: Evidence) -> Metric:
    """DF of a switch for the first thing that should vanish; the others are details."""
    if not evidence.vanishing:
        return undefined("nothing was named that should disappear, or no detector was given")
    found = {concept: _of_concept(evidence, concept) for concept in evidence.vanishing}
    first = found.pop(evidence.vanishing[0])
    others = {f"df {concept}": metric.value for concept, metric in found.items()}
    return replace(first, details=first.details | others)


def _of_concept(evidence: Evidence, concept: str) -> Metric:
    return disappearance_fidelity(
        evidence.measured.detections[concept],
        evidence.windows,
        fps=evidence.measured.fps,
        threshold=evidence.threshold,
        object_free=evidence.object_free.get(concept),
        floor=evidence.measured.detection_floor,
    )


def _absence(seen: Array, fps: float) -> dict[str, float]:
    """First frame after the switch without the object, and its longest reappearance since (0 for none)."""
    gone = np.flatnonzero(seen == 0)
    if not gone.size:
        return {"first_absent": np.nan, "reappearance": np.nan, "reappearance_seconds": np.nan}
    longest = max((end - start for start, end in runs(seen[gone[0] :] == 1)), default=0)
    return {
        "first_absent": float(gone[0]),
        "reappearance": float(longest),
        "reappearance_seconds": longest / fps,
    }
