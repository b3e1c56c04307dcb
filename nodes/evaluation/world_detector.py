"""The analytic detector of the embedded model's world, as the metrics take detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...metrics.measuring.detectors import Detections
from ...tiny import detector as world_detector
from ...tiny.world import COLOURS, SHAPES, SIZE, SIZES

ANYTHING = {"subject", "object", "shape"}


class WorldDetector:
    """Finds the subjects of the embedded model's world by concepts such as `red circle`, `star` or `a subject`.

    concepts: checked at once, so that a word that the world does not hold raises ValueError before a video is read.
    The confidence of a frame says how well the subject that is found explains the picture; it is 0 where the
    subject is another one.
    """

    name = "tiny"

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
        seen = world_detector.detect(frames)
        columns = [_matching(seen, concept) for concept in concepts]
        half = np.array([SIZES.get(str(size), 0) for size in seen.size]) / 2
        boxes = np.stack([seen.x - half, seen.y - half, seen.x + half, seen.y + half], -1) / SIZE
        confidence = np.stack([np.where(column, np.clip(seen.score, 0, 1), 0.0) for column in columns], -1)
        shown = (np.stack(columns, -1) & seen.present[:, None])[..., None]
        return Detections(
            confidence.astype(np.float32),
            np.where(shown, np.clip(boxes, 0, 1)[:, None], np.nan).astype(np.float32),
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


def _matching(seen: Any, concept: str) -> NDArray[np.bool_]:
    """Whether the subject of each frame is what a concept names, bool [N]."""
    fits = np.ones(len(seen), bool)
    for named, found in zip(_words(concept), (seen.shape, seen.colour, seen.size)):
        if named:
            fits &= np.isin(found.astype(str), sorted(named))
    return fits
