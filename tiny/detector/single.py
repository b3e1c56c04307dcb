"""Detect the only subject of each frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..world import SIZE
from .fitting import Fit, fit_subject
from .reading import Detection
from .scenes import SCENES, empty_scenes, nearest_scene, pooled

CHUNK = 16  # frames worked on at once

Array = NDArray[Any]


def detect(frames: Any) -> Detection:
    """Detect what frames [T,64,64,3], uint8 or float in 0..1, show; raises ValueError for other shapes.

    Frames of a whole multiple of 64 px are averaged down; positions are always in px of a picture of 64.
    """
    (detection,) = detect_by(lambda chunk: (_detect(chunk),), frames)
    return detection


def detect_by(detector: Callable[[Array], tuple[Detection, ...]], frames: Any) -> tuple[Detection, ...]:
    """What a detector of frames float32 [T,64,64,3] in 0..1 sees in frames as `detect` takes them, a few at once."""
    frames = np.asarray(frames)
    _check(frames)
    scale = np.float32(255 if frames.dtype == np.uint8 else 1)
    chunks = [
        detector(_reduced(frames[first : first + CHUNK].astype(np.float32) / scale))
        for first in range(0, len(frames), CHUNK)
    ]
    return tuple(_joined(parts) for parts in zip(*chunks))


def difference_to(frames: Array, scene: Array) -> Array:
    """Difference of frames [T,64,64,3] to the empty scenes numbered `scene` [T]; a tint of the whole picture is none."""
    difference: Array = frames - empty_scenes()[scene]
    difference -= np.median(pooled(difference).reshape(len(frames), -1, 3), axis=1)[:, None, None]
    return difference


def difference_beside(frames: Array, scene: Array, *subjects: Fit) -> Array:
    """Difference to empty scenes whose tint is that of the pixels that the subjects leave free."""
    difference: Array = frames - empty_scenes()[scene]
    hidden = np.any([subject.covered() for subject in subjects], axis=0)
    free = np.where(hidden[..., None], np.nan, difference).reshape(len(frames), -1, 3)
    difference -= np.nanmedian(free, axis=1)[:, None, None]
    return difference


def detection_of(fit: Fit, scene: Array) -> Detection:
    """A fit to the empty scenes numbered `scene` [T], by names."""
    shape, colour, size = fit.looks
    background, night = (np.array(names)[scene] for names in zip(*SCENES))
    return Detection(
        present=fit.present,
        score=fit.score,
        shape=shape,
        colour=colour,
        size=size,
        x=fit.x,
        y=fit.y,
        background=background,
        night=night,
    )


def _detect(frames: Array) -> Detection:
    scene = nearest_scene(frames)
    return detection_of(fit_subject(difference_to(frames, scene), scene), scene)


def _check(frames: Array) -> None:
    side = frames.shape[1] if frames.ndim == 4 else 0
    if frames.ndim != 4 or not side or side % SIZE or frames.shape[2:] != (side, 3) or not len(frames):
        raise ValueError(
            f"The detector needs frames [T,{SIZE},{SIZE},3] with T > 0, or square ones of a multiple of {SIZE} px, but got "
            f"{list(frames.shape)}: resize the video first."
        )


def _reduced(frames: Array) -> Array:
    """Frames of 64 px, by means over blocks."""
    factor = frames.shape[1] // SIZE
    if factor == 1:
        return frames
    means: Array = frames.reshape(len(frames), SIZE, factor, SIZE, factor, 3).mean((2, 4))
    return means


def _joined(parts: tuple[Detection, ...]) -> Detection:
    names = [field.name for field in fields(Detection)]
    return Detection(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
