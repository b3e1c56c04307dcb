"""Ghosting (GAS): how much of the old scene still shows after the switch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, cosines, finite, mean, pieces, rows
from .results import Metric, undefined
from .stf import problem
from .switches import Windows

BASE_PERCENTILE = 95
LEAST_CONTRAST = 0.02


def ghosting(
    features: ArrayLike,
    windows: Windows,
    *,
    reference: ArrayLike | None = None,
    centre: ArrayLike | None = None,
    length: int | None = None,
) -> Metric:
    """Mean over windows of the largest likeness to the old scene beyond what R has; 0 none, 1 the old scene.

    Likeness of a frame: the largest over old frames j of clip((cos(phi_t, phi_j) - b)/(1 - b), 0, 1), the
    curve. features [T,D]: whole frames, or the old object's box; reference [n,D]: the same of R, whose 95th
    percentile of the largest cosine to an old frame is b; without it the value is undefined. centre [D] is
    subtracted from all before. length: frames of a window (None: half a second). Old frames are the settled
    ones before the switch. Founding: mean over the windows of the largest cosine to the most typical old
    frame.
    """
    features = rows(features)
    length = windows.half if length is None else length
    if (reason := problem(windows)) is not None:
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
    curve = np.clip((similarity - limit) / (1 - limit), 0, 1)
    details["settled"] = mean(curve, windows.settled)
    return Metric(_mean_of_largest(curve, spans), founding, True, curve=curve, details=details)


def _typical(old: Array) -> Array:
    """The frame nearest to the mean of old frames."""
    return old[np.argmin(((old - old.mean(0)) ** 2).sum(1))]


def _mean_of_largest(curve: Array, spans: list[tuple[int, int]]) -> float:
    """Mean over spans of the largest value in each; spans without any are left out."""
    parts = [finite(curve[slice(*span)]) for span in spans]
    return mean([part.max() for part in parts if part.size])
