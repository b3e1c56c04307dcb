"""What evaluators look through: extractors and detectors by name, and timelines as metrics know them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...metrics import Cue
from ...metrics.features import Extractor, OpenClipExtractor, PixelExtractor, tiny_extractor
from ...metrics.measuring.clip import batches_of, measure_clip
from ...metrics.measuring.detectors import (
    Detections,
    Detector,
    GroundingDinoDetector,
    Owlv2Detector,
    ZeroShotDetector,
)
from ...samplers.progress import report
from ...samplers.timeline.timeline import Timeline
from ...tiny import detector as world_detector
from ...tiny.bundle import WEIGHTS
from ...tiny.world import COLOURS, SHAPES, SIZE, SIZES
from ..runtime import inside_comfyui
from .host_features import HostExtractor

FEATURES = ("clip", "pixel", "tiny", "clip_vision")
DETECTORS = ("auto", "clip", "owlv2", "grounding_dino", "tiny")
ANYTHING = {"subject", "object", "shape"}
MODEL, PRETRAINED = "ViT-B-32", "laion2b_s34b_b79k"


@dataclass(frozen=True)
class Eyes:
    """How videos are looked at: an extractor, and a detector with the object that it should look for."""

    extractor: Extractor
    detector: Detector | None = None
    concept: str = ""

    @property
    def reads(self) -> bool:
        """Whether the extractor has a text tower."""
        return self.extractor.texts(["text"]) is not None

    def options(self) -> dict[str, Any]:
        """Arguments for metrics.evaluate_video."""
        concepts = (self.concept,) if self.concept else ()
        return {"extractor": self.extractor, "detector": self.detector, "vanishing": concepts}

    def measured(self, frames: Any, fps: float) -> Any:
        """A reference or target clip, measured once for all videos; None stays."""
        return None if frames is None else measure_clip(frames, self.extractor, fps=fps)

    def confidences(self, frames: Any) -> dict[str, np.ndarray] | None:
        """What the detector says of frames without the object; None without frames or detector."""
        if frames is None or self.detector is None:
            return None
        found = [self.detector.detect(batch, (self.concept,)).confidence for batch in batches_of(frames)]
        return {self.concept: np.concatenate(found)[:, 0]}


def open_eyes(
    features: str,
    *,
    model: str = MODEL,
    pretrained: str = PRETRAINED,
    clip_vision: Any = None,
    concept: str = "",
    detector: str = "auto",
    detector_model: str = "",
) -> Eyes:
    """The extractor `features` (one of FEATURES), and with a concept the detector (one of DETECTORS).

    model and pretrained are those of clip; clip_vision is ComfyUI's CLIP_VISION; detector_model is the folder or
    cached name of an owlv2 or grounding_dino model. Raises ValueError, FileNotFoundError or ModuleNotFoundError
    with what to do.
    """
    device = _device()
    extractor = _extractor(features, model, pretrained, clip_vision, device)
    if not concept:
        return Eyes(extractor)
    kind = detector if detector != "auto" else "tiny" if features == "tiny" else "clip"
    if kind == "tiny":
        return Eyes(extractor, WorldDetector((concept,)), concept)
    if kind == "clip":
        return Eyes(extractor, _zero_shot(extractor, detector, concept, model, pretrained, device), concept)
    if not detector_model:
        raise ValueError(
            f"the detector {kind} needs a model: give its folder, or its name in this machine's cache, as detector_model."
        )
    return Eyes(
        extractor,
        {"owlv2": Owlv2Detector, "grounding_dino": GroundingDinoDetector}[kind](detector_model, device),
        concept,
    )


def cues_of(timeline: Timeline | None, first_prompt: str = "") -> tuple[Cue, ...]:
    """A timeline as metrics know it; `first_prompt` holds until its first entry where that starts later."""
    entries = () if timeline is None else timeline.entries
    cues = [Cue(entry.start, entry.prompt, entry.state, entry.change) for entry in entries]
    if cues and cues[0].start > 0:
        cues.insert(0, Cue(0.0, first_prompt))
    return tuple(cues)


def frame_progress(total: int) -> Callable[[int], None]:
    """A callback that is told how many of `total` frames are done, and shows it where the pack runs."""
    if inside_comfyui():
        import comfy.utils

        return comfy.utils.ProgressBar(total).update_absolute
    return lambda done: report(done, total)


class WorldDetector:
    """The analytic detector of the embedded model's world, for concepts such as `red circle`, `star` or `a subject`.

    `concepts` are only checked. Confidence: how well the subject that is seen explains the picture, 0 where it is
    another one. Raises ValueError for what the world does not hold.
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
    named = tuple(words & set(known) for known in (SHAPES, COLOURS, SIZES))
    if not any(named) and not words & ANYTHING:
        raise ValueError(
            f"{concept!r} is nothing of the embedded model's world: name a colour ({', '.join(COLOURS)}) or a shape "
            f"({', '.join(SHAPES)}), or write `a subject`."
        )
    return named


def _matching(seen: Any, concept: str) -> np.ndarray:
    """Whether the subject of each frame is what a concept names, bool [N]."""
    fits = np.ones(len(seen), bool)
    for named, found in zip(_words(concept), (seen.shape, seen.colour, seen.size)):
        if named:
            fits &= np.isin(found.astype(str), sorted(named))
    return fits


def _extractor(features: str, model: str, pretrained: str, clip_vision: Any, device: Any) -> Extractor:
    if features == "pixel":
        return PixelExtractor()
    if features == "tiny":
        return tiny_extractor(WEIGHTS / "tiny-clip.json", WEIGHTS / "clip.safetensors")
    if features == "clip":
        return OpenClipExtractor(model, pretrained, device)
    if clip_vision is None:
        raise ValueError("features is clip_vision, but no model is connected: connect CLIP Vision Loader.")
    return HostExtractor(clip_vision)


def _device() -> Any:
    if not inside_comfyui():
        return "cpu"
    from comfy.model_management import get_torch_device

    return get_torch_device()


def _zero_shot(
    extractor: Extractor, detector: str, concept: str, model: str, pretrained: str, device: Any
) -> ZeroShotDetector:
    """By the extractor where it reads, else by a CLIP that was asked for by name."""
    if extractor.texts([concept]) is not None:
        return ZeroShotDetector(extractor)
    if detector == "auto":
        raise ValueError(
            f"features {extractor.name} cannot read what {concept!r} is: choose features clip or tiny, or a detector "
            "(clip, owlv2, grounding_dino) with its model."
        )
    return ZeroShotDetector(OpenClipExtractor(model, pretrained, device))
