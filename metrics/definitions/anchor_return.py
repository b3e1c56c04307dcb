"""Anchor return: whether a video falls back to the scene of its start after a switch was followed.

LoL (arXiv 2601.16914) describes models that go back to their first frames again and again; FramePack's start image stays in
the memory of every section.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import cosines, finite, mean, pieces, rows, runs
from ..measuring.evidence import Evidence
from ..results import Metric, undefined
from ..switches import Windows

LEAST_CONTRAST = 0.02  # of cosine, between the start and the new scene


def anchor_return(
    features: ArrayLike, windows: Windows, arrival: int, *, centre: ArrayLike | None = None
) -> Metric:
    """The share of the time after a change in which a video looks more like its start than like what it had become.

    r of a frame is its largest cosine to the first half second of the video less that to the half second from the
    arrival on; it is the curve. The value is the share of the half seconds after that, up to the next switch, in which
    the mean of r is above 0. 0: it never goes back; 1: it goes back at once and stays. Low is good. Not valid where
    less than a half second is left, where no frame of a part is finite, or where the new scene differs from the start
    by a cosine of less than 0.02, as it does where the start is asked for. There is no founding value. details: first,
    the frames from the switch until r is above 0 (NaN: never), and longest, the most frames in a row in which it is.

    features: of frames [T,D]. arrival: the frame from which on the new scene is there. centre: what is subtracted
    from all features first [D].
    """
    features, half, end = rows(features), windows.half, windows.after[1]
    later = arrival + half
    if end - later < half:
        return undefined("less than half a second is left after the new scene has come")
    start, new = finite(features[:half]), finite(features[arrival:later])
    if not len(start) or not len(new):
        return undefined("no frame of the start or of the new scene is finite")
    curve = cosines(features, start, centre).max(1) - cosines(features, new, centre).max(1)
    if not mean(curve, (arrival, later)) < -LEAST_CONTRAST:
        return undefined("the new scene looks like the start of the video", curve=curve)
    parts = [mean(curve, span) for span in pieces((later, end), half)]
    if not (known := finite(parts)).size:
        return undefined("no frame after the new scene has come is finite", curve=curve)
    back = runs(curve[later:end] > 0)
    details = {
        "first": float(later + back[0][0] - windows.after[0]) if back else np.nan,
        "longest": float(max((stop - begin for begin, stop in back), default=0)),
    }
    return Metric(value=float((known > 0).mean()), founding=np.nan, valid=True, curve=curve, details=details)


def score_anchor_return(evidence: Evidence, arrival: Metric) -> Metric:
    """Anchor return after a switch, `arrival` being its TL90."""
    if not arrival.valid or arrival.censored:
        return undefined("it is not known that the new scene has come, from which the video could go back")
    frame = evidence.windows.after[0] + round(arrival.value)
    return anchor_return(evidence.measured.features, evidence.windows, frame, centre=evidence.centre)
