"""Detect up to two subjects in each frame.

The subject that explains most is fitted first. Its pixels then count no more, and a second one is fitted to the rest; either is
fitted once more with the other one's pixels left out, since the one in front may have been found last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..world import Scene, Subject
from .fitting import fit_subject
from .reading import Detection
from .scenes import nearest_scene
from .single import detect_by, detection_of, difference_beside, difference_to

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class PairDetection:
    """What is seen of two subjects in each of T frames, in no order: either may be present or not."""

    one: Detection
    other: Detection

    def __len__(self) -> int:
        return len(self.one)

    def __getitem__(self, frames: slice) -> PairDetection:
        """The detection of some of the frames."""
        return PairDetection(one=self.one[frames], other=self.other[frames])

    @property
    def count(self) -> Array:
        """How many subjects are seen, [T]."""
        seen: Array = self.one.present.astype(int) + self.other.present
        return seen

    def finds(self, subject: Subject, *, size: bool = False) -> Array:
        """Whether a subject of this shape and colour (and size) is seen, bool [T]."""
        found: Array = _is(self.one, subject, size) | _is(self.other, subject, size)
        return found

    def agrees(self, scene: Scene, *, size: bool = False) -> Array:
        """Whether place, time and exactly the subjects of a scene are seen, bool [T]."""
        same: Array = self.in_place(scene) & (self.count == len(scene.shown))
        for subject, _ in scene.shown:
            same &= self.finds(subject, size=size)
        return same

    def in_place(self, scene: Scene) -> Array:
        """Whether place and time are a scene's, bool [T]."""
        same: Array = (self.one.background == scene.background) & (self.one.night == scene.night)
        return same

    def place_of(self, subject: Subject) -> Array:
        """The centre (x, y) [T,2] in px of the subject of this shape and colour, nan where it is not seen."""
        places = np.full((len(self), 2), np.nan)
        for part in (self.other, self.one):
            here = _is(part, subject, False)
            places[here] = np.stack([part.x, part.y], axis=-1)[here]
        return places


def detect_pair(frames: Any) -> PairDetection:
    """Detect up to two subjects in frames as `detect` takes them."""
    one, other = detect_by(_detect_pair, frames)
    return PairDetection(one=one, other=other)


def _is(detection: Detection, subject: Subject, size: bool) -> Array:
    same: Array = detection.present & (detection.shape == subject.shape)
    same &= detection.colour == subject.colour
    return same & (detection.size == subject.size) if size else same


def _detect_pair(frames: Array) -> tuple[Detection, Detection]:
    scene = nearest_scene(frames)
    one = fit_subject(difference_to(frames, scene), scene)
    difference = difference_beside(frames, scene, one)
    other = fit_subject(difference, scene, ~one.covered())
    difference = difference_beside(frames, scene, one, other)
    one = fit_subject(difference, scene, ~other.covered())
    other = fit_subject(difference, scene, ~one.covered())
    return detection_of(one, scene), detection_of(other, scene)
