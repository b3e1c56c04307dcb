"""What is measured in a video, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..arrays import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Measurements:
    """Measurements of T frames of one size. Frames that hold NaN or infinite values are NaN everywhere.

    fps: frames per second.
    size: height and width in px.
    extractor: the name of the feature extractor.
    features: raw features [T,D].
    change: distance of neighbouring frames [T-1].
    change_method: what that distance is.
    flow: optical flow between neighbours [T-1], as a degree at 8 frames per second (1 = VBench's dynamic); NaN if off.
    flow_method: the name of the flow estimator.
    brightness: mean luma [T] in 0..1.
    saturation: mean of the largest minus the smallest channel [T] in 0..1.
    sharpness: root mean square of the Laplacian [T], at a short side of 192 px.
    noise: standard deviation of the noise [T] at full size (Immerkaer 1996, with a median).
    finite: whether a frame holds finite values only, bool [T].
    detections: the detector's confidence [T] by concept.
    subjects: features [T,D] of what was detected, cut out of the frames, by concept; NaN where it was not.
    colour: mean sRGB [T,3] in 0..1.
    blockiness: steps across the borders of blocks of 8 px, less those inside, in 8-bit levels [T]; empty if unknown.
    pixel_change: mean absolute difference of neighbouring frames [T-1] at full size, in 0..1; empty if unknown.
    detection_floor: where those confidences begin to say how much is seen; None where they only say whether it is.
    boxes: the box of the detection [T,4] by concept: left, top, right, bottom in 0..1.
    thumbnails: small pictures uint8 [h,w,3] by frame number, evenly spaced.
    flow_stride: frames between which one flow is measured; all neighbours in between have its value.
    """

    fps: float
    size: tuple[int, int]
    extractor: str
    features: Array
    change: Array
    change_method: str
    flow: Array
    flow_method: str
    brightness: Array
    saturation: Array
    sharpness: Array
    noise: Array
    finite: Array
    detections: Mapping[str, Array] = field(default_factory=dict)
    boxes: Mapping[str, Array] = field(default_factory=dict)
    thumbnails: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    flow_stride: int = 1
    subjects: Mapping[str, Array] = field(default_factory=dict)
    colour: Array = field(default_factory=lambda: np.zeros((0, 3)))
    blockiness: Array = field(default_factory=lambda: np.zeros(0))
    pixel_change: Array = field(default_factory=lambda: np.zeros(0))
    detection_floor: float | None = None

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.finite)
