"""Where something that a detector sees is in every frame."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array
from ..definitions.disappearance import calibrate
from ..measuring.clip import followed_boxes
from ..measuring.measurements import Measurements


def track_of(
    measured: Measurements,
    concept: str,
    object_free: Mapping[str, ArrayLike] | None = None,
    threshold: float | None = None,
) -> Array | None:
    """The box [T,4] of a detected concept in every frame; None where it is never seen.

    object_free: confidences on frames without an object [n], by concept. threshold: confidence above which it counts as
    seen, instead of theirs.
    """
    limit = calibrate((object_free or {}).get(concept), threshold or measured.detection_floor)
    return followed_boxes(
        measured.boxes[concept], np.asarray(measured.detections[concept]) > limit.confidence
    )
