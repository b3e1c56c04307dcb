"""What a detector has seen, and what follows from it: whether that is a scene, and whether a subject has jumped."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..world import Scene

PRESENT_SCORE = 0.4

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Detection:
    """What is seen in each of T frames; every field is an array [T].

    `score` is the share of the difference to the empty scene that the best subject explains: near 1 for a
    well drawn one, about 0 for none; `present` is score > 0.4. The subject's other fields (`x` and `y` in px,
    its centre) mean nothing where it is not present.
    """

    present: Array
    score: Array
    shape: Array
    colour: Array
    size: Array
    x: Array
    y: Array
    background: Array
    night: Array

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, frames: slice) -> Detection:
        """The detection of some of the frames."""
        return Detection(**{field.name: getattr(self, field.name)[frames] for field in fields(self)})


def agrees(detection: Detection, scene: Scene) -> Array:
    """Whether background, night, and the subject's shape and colour or absence are a scene's, bool [T]."""
    same: Array = (detection.background == scene.background) & (detection.night == scene.night)
    if scene.subject is None:
        return np.logical_and(same, np.logical_not(detection.present))
    subject = scene.subject
    same &= (detection.shape == subject.shape) & (detection.colour == subject.colour)
    return np.logical_and(same, detection.present)


def matches(detection: Detection, scene: Scene) -> bool:
    """Whether a scene is what is seen in more than half of the frames."""
    return bool(agrees(detection, scene).mean() > 0.5)


def jump(detection: Detection, frame: int, past: int = 3) -> float:
    """How far, in px, the subject lies at `frame` from where it was going; nan when it is not seen there.

    Where it was going is its last place moved on by its mean move over up to `past` frames before.
    """
    if not 0 < frame < len(detection):
        raise ValueError(f"A jump needs a frame before it, but {frame} is not in 1..{len(detection) - 1}.")
    before = np.arange(max(frame - 1 - past, 0), frame)
    before = before[np.logical_and.accumulate(detection.present[before][::-1])[::-1]]
    if not len(before) or not detection.present[frame]:
        return float("nan")
    places = np.stack([detection.x, detection.y], axis=-1)
    velocity = np.diff(places[before], axis=0).mean(0) if len(before) > 1 else np.zeros(2)
    return float(np.linalg.norm(places[frame] - places[frame - 1] - velocity))
