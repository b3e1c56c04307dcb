"""Whether something named in words is in a frame, and where: detectors with one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..features.base import Extractor

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector finds in N frames for C concepts.

    confidence: how sure it is that the concept is seen [N,C], in 0..1.
    boxes: the best box [N,C,4]: left, top, right, bottom as shares of the picture; NaN where none is known.
    """

    confidence: Array
    boxes: Array


class Detector(Protocol):
    """Looks for concepts in frames.

    name: what reports call it.

    A detector may have a `floor`, too: a confidence above which it grows evenly with how much of the concept is seen,
    up to the whole of it. Without one a confidence only says whether it is seen.
    """

    name: str

    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """Detections of concepts, short noun phrases, in frames [N,H,W,3] in 0..1."""


class CallableDetector:
    """A function as a detector.

    function: takes frames [N,H,W,3] in 0..1 and concepts, and returns confidences [N,C] or Detections; `detect` raises
    ValueError for other shapes, and for confidences beyond 0..1.
    name: what reports call it; "" takes the function's name.
    """

    def __init__(self, function: Callable[[Any, Sequence[str]], Any], name: str = "") -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """What the function returns for frames [N,H,W,3]."""
        given = self.function(frames, concepts)
        found = given if isinstance(given, Detections) else Detections(np.asarray(given), _no_boxes(given))
        shape = (len(frames), len(concepts))
        if found.confidence.shape != shape or found.boxes.shape != (*shape, 4):
            raise ValueError(
                f"the detector {self.name} gave confidences {list(found.confidence.shape)} and boxes "
                f"{list(found.boxes.shape)}, expected {list(shape)} and {[*shape, 4]}: [frames, concepts]."
            )
        if not ((found.confidence >= 0) & (found.confidence <= 1)).all():
            low, high = np.min(found.confidence), np.max(found.confidence)
            raise ValueError(f"the detector {self.name} gave confidences {low:.3g}..{high:.3g}, not in 0..1.")
        return found


class ZeroShotDetector:
    """Presence by a CLIP: softmax over a concept's text and the texts of its absence; there are no boxes.

    extractor: one with a text tower. absence: what may be seen instead; the concept has to win against the best
    of them. Small subjects move a whole picture's features little: prefer a detector with boxes for them.
    Raises ValueError without a text tower or absence.
    """

    def __init__(
        self,
        extractor: Extractor,
        absence: Sequence[str] = ("an empty scene", "a place without anybody", "a landscape"),
    ) -> None:
        self.extractor, self.absence = extractor, tuple(absence)
        self.name = f"{extractor.name} zero-shot"
        if not self.absence or extractor.texts(self.absence[:1]) is None:
            raise ValueError(
                f"zero-shot detection compares texts, and {extractor.name} has "
                f"{'no text tower: take clip or tiny features' if self.absence else 'no text of absence'}."
            )

    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """Detections in frames [N,H,W,3]; boxes are NaN."""
        texts = np.asarray(self.extractor.texts([*concepts, *self.absence]))
        logits = self.extractor.logit_scale * _cosines(self.extractor.images(frames), texts)
        present, absent = logits[:, : len(concepts)], logits[:, len(concepts) :].max(1, keepdims=True)
        confidence = 0.5 * (1 + np.tanh((present - absent) / 2))  # the softmax of two, without overflow
        return Detections(confidence, _no_boxes(confidence))


def _no_boxes(confidence: Any) -> Array:
    return np.full((*np.shape(confidence), 4), np.nan)


def _cosines(images: Array, texts: Array) -> Array:
    left, right = (
        rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, texts)
    )
    cosines: Array = left @ right.T
    return cosines
