"""Which empty scene a frame shows, whatever lies over it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..world import BACKGROUNDS, SIZE, background_pixels

SCENES = tuple((background, night) for background in BACKGROUNDS for night in (False, True))
POOL = 4  # backgrounds are told apart at 16x16
OUTLIER = 0.35  # cap of a pooled difference: a subject hides the background, at a limited cost

Array = NDArray[Any]


def pooled(frames: Array) -> Array:
    """Frames [...,64,64,3] as means over blocks, [...,16,16,3]."""
    small = SIZE // POOL
    means: Array = frames.reshape(*frames.shape[:-3], small, POOL, small, POOL, 3).mean((-4, -2))
    return means


def nearest_scene(frames: Array) -> Array:
    """Index into SCENES of the empty scene nearest to each frame, [T]."""
    difference = (pooled(frames)[:, None] - pooled(empty_scenes())).reshape(len(frames), len(SCENES), -1, 3)
    untinted = difference - np.median(difference, axis=2, keepdims=True)
    absolute, relative = (
        np.minimum(np.abs(part).sum(-1), OUTLIER).mean(-1) for part in (difference, untinted)
    )
    nearest: Array = (absolute + relative).argmin(1)
    return nearest


@cache
def empty_scenes() -> Array:
    """All empty scenes, [10,64,64,3]."""
    return np.stack([background_pixels(*scene) for scene in SCENES])
