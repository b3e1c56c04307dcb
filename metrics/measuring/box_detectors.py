"""Detectors that say where an object is, through transformers: OWLv2 and Grounding DINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .detectors import Detections

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class _TransformersDetector:
    """A detector of the library transformers that reads pictures and concepts and gives boxes."""

    architecture: str
    processor_class: str
    title: str

    def __init__(self, model: str | Path, device: str | torch.device = "cpu", *, batch: int) -> None:
        network, self.processor = _from_pretrained(model, self.architecture, self.processor_class)
        self.model, self.device, self.batch = network.to(device), device, batch
        self.name = f"{self.title} {Path(model).name}"

    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        """Detections in frames [N,H,W,3]."""
        import torch

        from ..features.frames import as_frames

        with torch.inference_mode():
            parts = [
                self._detect(part, list(concepts)) for part in torch.split(as_frames(frames), self.batch)
            ]
        return _joined(parts)

    def _detect(self, frames: Tensor, concepts: list[str]) -> Detections:
        """Detections in as many frames as the model takes at once."""
        raise NotImplementedError

    def _found(self, frames: Tensor, texts: Sequence[Any]) -> Any:
        """What the model finds in frames [N,H,W,3], with one entry of `texts` for each."""
        inputs = self.processor(
            images=_pictures(frames), text=texts, return_tensors="pt", input_data_format="channels_last"
        )
        return self.model(**inputs.to(self.device))


class Owlv2Detector(_TransformersDetector):
    """OWLv2 (Minderer et al. 2023, arXiv 2306.09683) through transformers.

    model: a folder, or the name of a model in the hub's cache on this machine, such as
    google/owlv2-base-patch16-ensemble. Nothing is downloaded. batch: frames at once. Confidence is the best box's
    score. Raises ModuleNotFoundError without transformers, FileNotFoundError without the model.
    """

    architecture, processor_class, title = "Owlv2ForObjectDetection", "Owlv2Processor", "OWLv2"

    def __init__(self, model: str | Path, device: str | torch.device = "cpu", *, batch: int = 8) -> None:
        super().__init__(model, device, batch=batch)

    def _detect(self, frames: Tensor, concepts: list[str]) -> Detections:
        found = self._found(frames, [concepts] * len(frames))
        # The model's pictures are padded to a square at the right and the bottom.
        height, width = frames.shape[1:3]
        square = (max(height, width) / width, max(height, width) / height)
        return _best(found.logits.sigmoid(), found.pred_boxes, square)


class GroundingDinoDetector(_TransformersDetector):
    """Grounding DINO (Liu et al. 2023, arXiv 2303.05499) through transformers.

    model: a folder, or the name of a model in the hub's cache on this machine, such as
    IDEA-Research/grounding-dino-tiny. Nothing is downloaded. batch: frames at once. Each concept is asked for by
    itself, so that it does not depend on the others; confidence is the best box's largest score over the words.
    Raises ModuleNotFoundError without transformers, FileNotFoundError without the model.
    """

    architecture, processor_class = "GroundingDinoForObjectDetection", "GroundingDinoProcessor"
    title = "Grounding DINO"

    def __init__(self, model: str | Path, device: str | torch.device = "cpu", *, batch: int = 4) -> None:
        super().__init__(model, device, batch=batch)

    def _detect(self, frames: Tensor, concepts: list[str]) -> Detections:
        found = [self._detect_one(frames, concept) for concept in concepts]
        return Detections(
            np.concatenate([one.confidence for one in found], axis=1),
            np.concatenate([one.boxes for one in found], axis=1),
        )

    def _detect_one(self, frames: Tensor, concept: str) -> Detections:
        # The model was trained on lower-case phrases that end in a full stop.
        text = concept.lower().strip().rstrip(".") + "."
        found = self._found(frames, [text] * len(frames))
        return _best(found.logits.sigmoid().amax(-1, keepdim=True), found.pred_boxes, (1.0, 1.0))


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


def _pictures(frames: Tensor) -> list[NDArray[np.uint8]]:
    """Frames [N,H,W,3] as uint8 pictures: what the processors read."""
    if frames.is_floating_point():
        frames = (frames * 255).round().clamp(0, 255).byte()
    return list(frames.cpu().numpy())


def _best(scores: Tensor, boxes: Tensor, scale: tuple[float, float]) -> Detections:
    """The best of Q boxes for each concept: scores [N,Q,C], boxes [N,Q,4] (centre, size) x `scale` (x, y)."""
    confidence, index = scores.float().cpu().max(1)
    chosen = boxes.float().cpu().gather(1, index[..., None].expand(-1, -1, 4))
    factors = chosen.new_tensor(scale)
    centre, half = chosen[..., :2] * factors, chosen[..., 2:] * factors / 2
    corners = np.concatenate([(centre - half).numpy(), (centre + half).numpy()], -1)
    return Detections(confidence.numpy(), corners.clip(0, 1))


def _joined(parts: Sequence[Detections]) -> Detections:
    return Detections(
        np.concatenate([part.confidence for part in parts]), np.concatenate([part.boxes for part in parts])
    )
