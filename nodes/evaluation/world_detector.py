"""The analytic detector of the embedded model's world, as the metrics take detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...metrics.measuring.detectors import Detections
from ...tiny.presence import presence, wanted_subjects
from ...tiny.world import COLOURS, SHAPES, SIZE, SIZES

ANYTHING = {"subject", "object", "shape"}


class WorldDetector:
    """Finds the subjects of the embedded model's world by concepts such as `red circle`, `star` or `a subject`.

    concepts: checked at once, so that a word that the world does not hold raises ValueError before a video is read.
    The confidence of a frame is the subject's opacity, less where the picture around it is not explained so; it is 0
    where the subject is another one.

    name: as for every detector. floor: opacities below it are those of noise.
    """

    name = "tiny"
    floor = 0.05

    def __init__(self, concepts: Sequence[str] = ()) -> None:
        for concept in concepts:
            _words(concept)

    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """Detections of frames [N,64,64,3]; raises ValueError for other sizes."""
        frames = np.asarray(frames)
        if frames.shape[1:3] != (SIZE, SIZE):
            raise ValueError(
                f"the detector tiny knows frames of {SIZE}x{SIZE} of the embedded model, but these are "
                f"{frames.shape[2]}x{frames.shape[1]}: choose another detector."
            )
        found = [self._detect(frames, concept) for concept in concepts]
        return Detections(
            np.stack([one.confidence for one in found], axis=1),
            np.stack([one.boxes for one in found], axis=1),
        )

    def _detect(self, frames: NDArray[Any], concept: str) -> Detections:
        """Detections of one concept: confidence [N], boxes [N,4]."""
        seen = presence(frames, wanted_subjects(*_words(concept)))
        half = np.array([SIZES[str(size)] for size in seen.size]) / 2
        boxes = np.stack([seen.x - half, seen.y - half, seen.x + half, seen.y + half], -1) / SIZE
        shown = (seen.score > self.floor)[:, None]
        return Detections(
            np.clip(seen.score, 0, 1).astype(np.float32),
            np.where(shown, np.clip(boxes, 0, 1), np.nan).astype(np.float32),
        )


def _words(concept: str) -> tuple[set[str], set[str], set[str]]:
    """Shapes, colours and sizes that a concept names; raises ValueError when it is nothing of the world."""
    words = set(concept.lower().replace(",", " ").split())
    shapes, colours, sizes = (words & set(known) for known in (SHAPES, COLOURS, SIZES))
    if not (shapes or colours or sizes) and not words & ANYTHING:
        raise ValueError(
            f"{concept!r} is nothing of the embedded model's world: name a colour ({', '.join(COLOURS)}) or a shape "
            f"({', '.join(SHAPES)}), or write `a subject`."
        )
    return shapes, colours, sizes
