"""Whether something named in words is in a frame, and where: detectors with one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..features.base import Extractor, as_frames

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Detections:
    """Of each frame and concept the confidence [N,C] in 0..1 and the best box [N,C,4].

    Boxes are left, top, right, bottom as shares of the picture, NaN where none is known.
    """

    confidence: Array
    boxes: Array


class Detector(Protocol):
    """Looks for concepts in frames; `name` is how reports call it."""

    name: str

    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """Detections of concepts, short noun phrases, in frames [N,H,W,3] in 0..1."""


class CallableDetector:
    """Any function of (frames [N,H,W,3] in 0..1, concepts) that gives confidences [N,C], or Detections.

    Raises ValueError when what it gives has another shape, or confidences beyond 0..1.
    """

    def __init__(self, function: Callable[[Any, Sequence[str]], Any], name: str = "") -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """What the function says of frames [N,H,W,3]."""
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
        logits = self.extractor.logit_scale * _cosines(
            self.extractor.images(frames), self.extractor.texts([*concepts, *self.absence])
        )
        present, absent = logits[:, : len(concepts)], logits[:, len(concepts) :].max(1, keepdims=True)
        confidence = 0.5 * (1 + np.tanh((present - absent) / 2))  # the softmax of two, without overflow
        return Detections(confidence, _no_boxes(confidence))


class Owlv2Detector:
    """OWLv2 (Minderer et al. 2023, arXiv 2306.09683) through transformers.

    model: a folder, or the name of a model in the hub's cache on this machine, such as
    google/owlv2-base-patch16-ensemble. Nothing is downloaded. Confidence is the best box's score.
    Raises ModuleNotFoundError without transformers, FileNotFoundError without the model.
    """

    def __init__(self, model: str | Path, device: str | torch.device = "cpu", *, batch: int = 8) -> None:
        self.model, self.processor = _from_pretrained(model, "Owlv2ForObjectDetection", "Owlv2Processor")
        self.model, self.device, self.batch = self.model.to(device), torch.device(device), batch
        self.name = f"OWLv2 {Path(model).name}"

    @torch.inference_mode()
    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """Detections in frames [N,H,W,3]."""
        parts = [self._detect(part, list(concepts)) for part in as_frames(frames).split(self.batch)]
        return _joined(parts)

    def _detect(self, frames: Tensor, concepts: list[str]) -> Detections:
        inputs = self.processor(
            images=_pictures(frames),
            text=[concepts] * len(frames),
            return_tensors="pt",
            input_data_format="channels_last",
        )
        found = self.model(**inputs.to(self.device))
        # The model's pictures are padded to a square at the right and the bottom.
        height, width = frames.shape[1:3]
        square = torch.tensor([max(height, width) / width, max(height, width) / height])
        return _best(found.logits.sigmoid(), found.pred_boxes, square)


class GroundingDinoDetector:
    """Grounding DINO (Liu et al. 2023, arXiv 2303.05499) through transformers.

    model: a folder, or the name of a model in the hub's cache on this machine, such as
    IDEA-Research/grounding-dino-tiny. Nothing is downloaded. Each concept is asked for by itself, so that it
    does not depend on the others; confidence is the best box's largest score over the words.
    Raises ModuleNotFoundError without transformers, FileNotFoundError without the model.
    """

    def __init__(self, model: str | Path, device: str | torch.device = "cpu", *, batch: int = 4) -> None:
        self.model, self.processor = _from_pretrained(
            model, "GroundingDinoForObjectDetection", "GroundingDinoProcessor"
        )
        self.model, self.device, self.batch = self.model.to(device), torch.device(device), batch
        self.name = f"Grounding DINO {Path(model).name}"

    @torch.inference_mode()
    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """Detections in frames [N,H,W,3]."""
        parts = []
        for part in as_frames(frames).split(self.batch):
            found = [self._detect(part, concept) for concept in concepts]
            parts.append(
                Detections(
                    np.concatenate([one.confidence for one in found], axis=1),
                    np.concatenate([one.boxes for one in found], axis=1),
                )
            )
        return _joined(parts)

    def _detect(self, frames: Tensor, concept: str) -> Detections:
        # The model was trained on lower-case phrases that end in a full stop.
        text = concept.lower().strip().rstrip(".") + "."
        inputs = self.processor(
            images=_pictures(frames),
            text=[text] * len(frames),
            return_tensors="pt",
            input_data_format="channels_last",
        )
        found = self.model(**inputs.to(self.device))
        return _best(found.logits.sigmoid().amax(-1, keepdim=True), found.pred_boxes, torch.ones(2))


def _from_pretrained(model: str | Path, architecture: str, processor: str) -> tuple[Any, Any]:
    """Model and processor from a folder or the cache, by transformers' class names."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "this detector needs the library transformers, which is not installed: run "
            "`python -m pip install transformers`, or choose the detector clip."
        ) from error
    try:
        loaded = getattr(transformers, architecture).from_pretrained(
            model, local_files_only=True, use_safetensors=True
        )
        return loaded.eval(), getattr(transformers, processor).from_pretrained(model, local_files_only=True)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"the detector {model} is not on this machine with its weights as .safetensors, and nothing is "
            f"downloaded here: run `hf download {model}` where there is a network, or give its folder "
            f"({' '.join(str(error).split())[:200]})"
        ) from error


def _pictures(frames: Tensor) -> list[Array]:
    """Frames [N,H,W,3] as uint8 pictures: what the processors read."""
    if frames.dtype != torch.uint8:
        frames = (frames * 255).round().clamp(0, 255).to(torch.uint8)
    return list(frames.cpu().numpy())


def _best(scores: Tensor, boxes: Tensor, scale: Tensor) -> Detections:
    """The best of Q boxes for each concept: scores [N,Q,C], boxes [N,Q,4] (centre, size) x `scale` (x, y)."""
    confidence, index = scores.float().cpu().max(1)
    chosen = boxes.float().cpu().gather(1, index[..., None].expand(-1, -1, 4))
    centre, half = chosen[..., :2] * scale, chosen[..., 2:] * scale / 2
    corners = torch.cat([centre - half, centre + half], -1).clamp(0, 1)
    return Detections(confidence.numpy(), corners.numpy())


def _joined(parts: Sequence[Detections]) -> Detections:
    return Detections(
        np.concatenate([part.confidence for part in parts]), np.concatenate([part.boxes for part in parts])
    )


def _no_boxes(confidence: Any) -> Array:
    return np.full((*np.shape(confidence), 4), np.nan)


def _cosines(images: Array, texts: Array) -> Array:
    images, texts = (
        rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, texts)
    )
    return images @ texts.T
