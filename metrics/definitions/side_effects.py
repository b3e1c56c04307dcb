"""Side effects: what a thing that is gone has left around it in the picture, such as its shadow or its reflection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, floats
from ..measuring.clip import Box, detected_box
from ..measuring.evidence import Evidence
from ..measuring.measurements import Measurements
from ..results import Metric, undefined
from ..switches import too_little_to_compare

GROWTH = 0.75  # of the box's sides, by which the surroundings reach beyond it
VISIBLE = 2 / 255  # of brightness: a smaller difference is no side effect
DEVIATIONS = 3.0  # of the differences elsewhere, by which a side effect stands out
LEAST_SHARE = 0.002  # of the surroundings that a side effect must take up
LARGEST_SHARE = 0.25  # of the thing's own difference that the rest of the picture may differ by


@dataclass(frozen=True, eq=False)
class Parts:
    """Which pixels [h,w] lie in the box of a thing, around it, and elsewhere."""

    box: Array
    around: Array
    elsewhere: Array


def side_effects(before: ArrayLike, settled: ArrayLike, plate: ArrayLike, box: Box) -> Metric:
    """How much of what a thing did to its surroundings is still there once it should be gone: 1 all of it, 0 nothing.

    The difference of a picture to the clean plate (the median of pictures without the thing) is the mean over channels
    of the absolute difference, less the mean difference elsewhere, which noise and drift make. The surroundings are what
    lies within three quarters of the box's sides around it, and of them those pixels count in which the pictures before
    the switch differ: the side effect as it was. The value is their mean difference after the switch over that before,
    clipped to 0..1. Low is good. Where nothing around the box differed before the value is 0, with a reason: there was
    no side effect.

    before, settled: pictures [N,h,w,3] in 0..1 with the thing, and after it should be gone. plate: pictures [K,h,w,3]
    without it, of the same camera. box: left, top, right, bottom of the thing before, in 0..1. details: box, the same
    share inside the box; around and elsewhere, the mean differences after the switch. Not valid where pictures are of
    different sizes, where nothing lies outside the surroundings, or where elsewhere the plate shows another picture.
    """
    before, settled, plate = floats(before), floats(settled), floats(plate)
    if before.shape[1:] != plate.shape[1:] or settled.shape[1:] != plate.shape[1:]:
        return undefined("the clean plate has another size than the video")
    parts = parts_of(box, plate.shape[1:3])
    if not parts.elsewhere.any():
        return undefined("the thing fills the picture: there is nothing beside it to compare with")
    clean = np.median(plate, axis=0)
    was, usual = _above_usual(before, clean, parts)
    left, rest = _above_usual(settled, clean, parts)
    thing = float(was[parts.box].mean())
    if thing < VISIBLE or usual > LARGEST_SHARE * thing:
        return undefined("beside the thing the clean plate shows another picture than the video")
    spread = float(was[parts.elsewhere].std())
    touched = parts.around & (was > max(VISIBLE, DEVIATIONS * spread))
    details = {"box": _share(left, was, parts.box), "around": _mean(left, touched), "elsewhere": rest}
    if touched.sum() < LEAST_SHARE * parts.around.sum():
        return Metric(
            value=0.0,
            founding=np.nan,
            valid=True,
            reason="nothing around it differed before",
            details=details,
        )
    return Metric(value=_share(left, was, touched), founding=np.nan, valid=True, details=details)


def parts_of(box: Box, size: tuple[int, int]) -> Parts:
    """The parts of a picture of height and width `size` that a box in 0..1 makes."""
    left, top, right, bottom = box
    inside = _covered(box, size)
    wide, high = GROWTH * (right - left), GROWTH * (bottom - top)
    grown = _covered((left - wide, top - high, right + wide, bottom + high), size)
    return Parts(inside, grown & ~inside, ~grown)


def score_side_effects(evidence: Evidence) -> Metric:
    """The side effects of the first thing that should vanish; a target, else the reference, is the clean plate."""
    plate = evidence.target or evidence.reference
    if not evidence.vanishing or plate is None:
        return undefined("nothing was named that should disappear, or no target or reference shows its place")
    if (reason := too_little_to_compare(evidence.windows)) is not None:
        return undefined(reason)
    concept, measured, windows = evidence.vanishing[0], evidence.measured, evidence.windows
    box = detected_box(measured.boxes[concept], windows.before) if concept in measured.boxes else None
    if box is None:
        return undefined("the detector tells no box of what should disappear")
    before, settled = (_pictures(measured, span) for span in (windows.before, windows.settled))
    if not len(before) or not len(settled):
        return undefined("no picture was kept of one of the windows")
    return side_effects(before, settled, _pictures(plate.measurements), box)


def _pictures(measured: Measurements, span: tuple[int, int] | None = None) -> Array:
    """The small pictures that were kept of a half-open range of frames, or of all, [N,h,w,3] in 0..1."""
    start, end = span or (0, len(measured))
    kept = [picture for frame, picture in measured.thumbnails.items() if start <= frame < end]
    return np.stack(kept) / 255 if kept else np.zeros((0, 1, 1, 3))


def _above_usual(pictures: Array, clean: Array, parts: Parts) -> tuple[Array, float]:
    """The mean difference [h,w] to the clean plate less that elsewhere, and that elsewhere."""
    difference = np.abs(pictures - clean).mean((0, 3))
    usual = float(difference[parts.elsewhere].mean())
    return difference - usual, usual


def _share(left: Array, was: Array, where: Array) -> float:
    """How much of a difference is left in some pixels, 0..1; NaN in none."""
    return float(np.clip(left[where].mean() / was[where].mean(), 0, 1)) if where.any() else float("nan")


def _mean(values: Array, where: Array) -> float:
    return float(values[where].mean()) if where.any() else float("nan")


def _covered(box: Box, size: tuple[int, int]) -> Array:
    """Whether the middle of each pixel [h,w] lies in a box, which may reach beyond the picture."""
    (height, width), (left, top, right, bottom) = size, box
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None]
