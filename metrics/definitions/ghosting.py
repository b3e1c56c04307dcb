"""Ghosting (GAS): how much of the old scene still shows after the switch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, cosines, finite, mean, pieces, rows
from ..measuring.evidence import Evidence, features_of
from ..results import Metric, undefined
from ..switches import Windows, too_little_to_compare

BASE_PERCENTILE = 95
LEAST_CONTRAST = 0.02
LEAST_UNCHANGED = 0.8  # what the old scene itself must score


def ghosting(
    features: ArrayLike,
    windows: Windows,
    *,
    reference: ArrayLike | None = None,
    centre: ArrayLike | None = None,
    length: int | None = None,
) -> Metric:
    """How much of the old scene still shows: mean over half seconds of the largest clip((c - b) / (1 - b), 0, 1).

    c of a frame is its largest cosine to any of the settled frames before the switch, and b the 95th percentile of
    c in the reference, which shows the new scene without the old one; the clipped number is the curve. 0: no more of
    the old scene than in the reference; 1: all of it. Low is good. Not valid without a reference, with one whose b
    leaves less than 0.02 up to 1, where the old scene moves so much that it would score less than 0.8 if it simply went
    on (the second half of the frames before the switch against the first), or where a window is missing or too short. The founding value is the mean over half
    seconds of the largest cosine to the most typical frame before the switch.

    features: of frames [T,D], whole ones or the old object's box. reference: the same of the reference [n,D].
    centre: what is subtracted from all features first [D]. length: frames of a piece; None is half a second.
    """
    features = rows(features)
    length = windows.half if length is None else length
    if (reason := too_little_to_compare(windows)) is not None:
        return undefined(reason)
    old = finite(features[slice(*windows.before)])
    if not len(old):
        return undefined("no frame before the switch is finite")
    spans = pieces(windows.after, length)
    founding = _mean_of_largest(cosines(features, _typical(old))[:, 0], spans)
    similarity = cosines(features, old, centre).max(1)
    if reference is None:
        return undefined(
            "likeness to the old scene means nothing without a reference clip", founding, similarity
        )
    base = finite(cosines(reference, old, centre).max(1))
    if not base.size or not np.isfinite(similarity[slice(*windows.after)]).any():
        return undefined("no frame of the reference or after the switch is finite", founding, similarity)
    limit = float(np.percentile(base, BASE_PERCENTILE))
    details = {"base": limit, "settled": np.nan}
    if 1 - limit < LEAST_CONTRAST:
        reason = f"the reference looks like the old scene (cosine {limit:.3f}): give a box or a detector"
        return undefined(reason, founding, similarity, details)
    details["unchanged"] = _unchanged(old, limit, centre)
    if details["unchanged"] < LEAST_UNCHANGED:
        reason = (
            f"the old scene moves so much that it would score {details['unchanged']:.2f} if it went on unchanged: "
            "follow its subject by the box of a detector"
        )
        return undefined(reason, founding, similarity, details)
    curve = np.clip((similarity - limit) / (1 - limit), 0, 1)
    details["settled"] = mean(curve, windows.settled)
    return Metric(
        value=_mean_of_largest(curve, spans), founding=founding, valid=True, curve=curve, details=details
    )


def score_ghosting(evidence: Evidence) -> Metric:
    """GAS of a switch, in the part of the region that should change where there is one."""
    part = evidence.changed_part
    features = features_of(evidence.clip, part)
    if features is None:
        return undefined("nothing was measured of the region")
    return ghosting(
        features,
        evidence.windows,
        reference=features_of(evidence.reference, part),
        centre=evidence.centre,
    )


def _unchanged(old: Array, base: float, centre: ArrayLike | None) -> float:
    """What the second half of old frames scores against the first; 1 for a single frame."""
    middle = len(old) // 2
    if not middle:
        return 1.0
    return float(
        np.clip((mean(cosines(old[middle:], old[:middle], centre).max(1)) - base) / (1 - base), 0, 1)
    )


def _typical(old: Array) -> Array:
    """The frame nearest to the mean of old frames."""
    nearest: Array = old[np.argmin(((old - old.mean(0)) ** 2).sum(1))]
    return nearest


def _mean_of_largest(curve: Array, spans: list[tuple[int, int]]) -> float:
    """Mean over spans of the largest value in each; spans without any are left out."""
    parts = [finite(curve[slice(*span)]) for span in spans]
    return mean([part.max() for part in parts if part.size])
