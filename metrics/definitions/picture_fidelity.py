"""STF by pictures of the new scene, for features that read no text."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, finite, mean, rows
from ..results import Metric, undefined
from ..switches import Windows, too_little_to_compare

LEAST_CONTRAST = 2.0  # times the spread of the pictures of the new scene
LEAST_AREA = 0.25  # of the picture: scenes differ in more of it, subjects in less
LEAST_GAIN = 0.1
SAME = 1e-6  # of the pictures' own square: less is rounding


def picture_fidelity(
    features: ArrayLike,
    pictures: ArrayLike,
    windows: Windows,
    *,
    reference: ArrayLike | None = None,
    fields: int | None = None,
) -> Metric:
    """How much of the way to pictures of the new scene the video goes: (p_settled - p_old) / (p_R - p_old).

    p(t) = clip((e_old - e(t)) / (e_old - e_new), 0, 1), where e is the squared distance to the mean of the pictures,
    e_old its mean over the settled frames before the switch and e_new that over the pictures; it is the curve. A frame
    that shows something else, or the old subject at another place, is as far from the new scene as before, and has
    not come nearer. 0: nothing came of the switch; 1: the pictures, or as much as the reference. High is good. Not
    valid where the old frames are hardly farther from the pictures than those from one another, where a window is
    missing or too short, or with `fields` where old and new scene differ in less than a quarter of the picture: then a
    subject comes or goes, and what the rest of the picture does outweighs it. There is no founding value.

    features: of frames [T,D]. pictures: features of pictures that show nothing but the new scene [n,D].
    reference: features of the reference [m,D], where the pictures are others. fields: features are the colours of
    fields x fields parts of the picture, row by row; None where they are not.
    """
    features, pictures = rows(features), finite(rows(pictures))
    if (reason := too_little_to_compare(windows)) is not None:
        return undefined(reason)
    old = finite(features[slice(*windows.before)])
    if not len(old) or not len(pictures):
        return undefined("no frame of a window is finite")
    new = pictures.mean(0)
    far, near = float(_squares(old, new).mean()), float(_squares(pictures, new).mean())
    details = {} if fields is None else {"area": area_of_change(old.mean(0) - new, fields)}
    if far <= max(LEAST_CONTRAST * near, SAME * float(new @ new)):
        return undefined(
            "the frames before the switch look like the pictures of the new scene", details=details
        )
    if details.get("area", 1.0) < LEAST_AREA:
        return undefined(
            f"old and new scene differ in {details['area']:.0%} of the picture only, where whole pictures do not tell "
            "gone from moved: give the subject's box, or a detector and its name",
            details=details,
        )

    def share(frames: Array) -> Array:
        return np.clip((far - _squares(frames, new)) / (far - near), 0, 1)

    curve = share(features)
    p_old, p_settled = mean(curve, windows.before), mean(curve, windows.settled)
    p_reference = 1.0 if reference is None else mean(share(rows(reference)))
    details |= {"p_old": p_old, "p_settled": p_settled, "p_reference": p_reference}
    if not np.isfinite(p_settled + p_reference):
        return undefined("no frame of a window is finite", curve=curve, details=details)
    if p_reference - p_old < LEAST_GAIN:
        return undefined(
            "the reference is no nearer to the pictures than the old frames", curve=curve, details=details
        )
    value = (p_settled - p_old) / (p_reference - p_old)
    return Metric(value=value, founding=np.nan, valid=True, curve=curve, details=details)


def area_of_change(difference: ArrayLike, fields: int) -> float:
    """Over how much of a picture a difference [fields * fields * channels] is spread, 0..1.

    The participation ratio of its squares q over the fields, (sum q)^2 / (n sum q^2): 1 where all fields differ alike,
    k/n where k of them do and the others not at all; 1 without any difference.
    """
    energy = np.square(np.asarray(difference, np.float64).reshape(fields * fields, -1)).sum(1)
    return float(energy.sum() ** 2 / (len(energy) * np.square(energy).sum())) if energy.any() else 1.0


def _squares(values: Array, centre: Array) -> Array:
    """Squared distances [T] of rows [T,D] to a point [D]."""
    squares: Array = np.square(values - centre).sum(1)
    return squares
