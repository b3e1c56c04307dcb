"""Identity: whether what should stay is still the same one after a switch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, cosines, finite, mean, rows
from ..measuring.evidence import Evidence
from ..results import Metric, undefined
from ..switches import Windows, too_little_to_compare
from .disappearance import calibrate

LEAST_SEEN = 0.5  # of the frames of a window
LEAST_LIKENESS = 0.2  # of a subject to itself


def identity(subject: ArrayLike, windows: Windows, *, centre: ArrayLike | None = None) -> Metric:
    """How much a subject looks like itself before the switch: c_settled / c_before.

    c of a frame is the largest cosine of the subject in it to the subject in frames before the switch; it is the curve.
    c_settled is its mean over the settled frames after the switch. c_before is how much the subject resembles itself
    anyway, as it moves and turns: the mean, over the second half of the settled frames before the switch, of the
    largest cosine to those of the first half. 1: as much as before; lower: another one; above 1 it moves less than
    before. High is good. Not valid where the subject is seen in less than half of the frames of a window, where it
    resembles itself by less than 0.2 before the switch, or where a window is missing or too short. There is no
    founding value.

    subject: features of the subject cut out of each frame [T,D]; NaN where it is not seen. centre: what is subtracted
    from them first [D].
    """
    subject = rows(subject)
    if (reason := too_little_to_compare(windows)) is not None:
        return undefined(reason)
    before, settled = subject[slice(*windows.before)], subject[slice(*windows.settled)]
    seen = {"seen_before": _share_seen(before), "seen": _share_seen(settled)}
    for name, when in (("seen_before", "before"), ("seen", "after")):
        if seen[name] < LEAST_SEEN:
            return undefined(f"it is seen in {seen[name]:.0%} of the frames {when} the switch", details=seen)
    middle = len(before) // 2
    usual = _likeness(before[middle:], before[:middle], centre)
    curve = cosines(subject, finite(before), centre).max(1)
    if not usual >= LEAST_LIKENESS:
        return undefined("before the switch it does not look like itself", curve=curve, details=seen)
    likeness = mean(curve, windows.settled)
    details = seen | {"likeness": likeness, "likeness_before": usual}
    return Metric(value=likeness / usual, founding=np.nan, valid=True, curve=curve, details=details)


def score_identity(evidence: Evidence) -> Metric:
    """Identity of the first thing that should stay and is followed."""
    followed = [concept for concept in evidence.kept if concept in evidence.measured.subjects]
    if not followed:
        return undefined("nothing was named that should stay, or no detector with boxes was given")
    concept = followed[0]
    if not np.isfinite(evidence.measured.boxes[concept]).any():
        return undefined(f"the detector gives no box of {concept!r}: take owlv2, grounding_dino or tiny")
    limit = calibrate(
        evidence.object_free.get(concept), evidence.threshold or evidence.measured.detection_floor
    )
    seen = evidence.measured.detections[concept] > limit.confidence
    subject = np.where(seen[:, None], evidence.measured.subjects[concept], np.nan)
    return identity(subject, evidence.windows, centre=evidence.centre)


def _share_seen(subject: Array) -> float:
    return len(finite(subject)) / max(len(subject), 1)


def _likeness(subject: Array, others: Array, centre: ArrayLike | None) -> float:
    """Mean over frames of the largest cosine to any of the others; NaN where either are none."""
    known, against = finite(subject), finite(others)
    return mean(cosines(known, against, centre).max(1)) if len(known) and len(against) else float("nan")
