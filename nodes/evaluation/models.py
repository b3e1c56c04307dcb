"""The models that a video is evaluated with: feature extractors and object detectors, by the names that users choose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...metrics.evaluate import suggested
from ...metrics.features import Extractor, OpenClipExtractor, PixelExtractor
from ...metrics.measuring.box_detectors import GroundingDinoDetector, Owlv2Detector
from ...metrics.measuring.clip import Clip, batches_of, measure_clip
from ...metrics.measuring.detectors import Detector, ZeroShotDetector
from ...metrics.measuring.perceptual import Lpips, Perceptual
from ...metrics.switches import Switch
from ...tiny.bundle import WEIGHTS
from ...tiny.vocabulary import unknown_words, warn_of_unknown_words
from ..comfyui import inside_comfyui
from .host_features import HostExtractor
from .world_detector import WorldDetector

MODEL, PRETRAINED = "ViT-B-32", "laion2b_s34b_b79k"
NO_DISTRACTORS = "none"
TINY = "tiny"  # the name of the embedded model's extractor and of its world's detector


@dataclass(frozen=True, kw_only=True)
class EvaluationModels:
    """A feature extractor, and the detector that looks for an object.

    extractor: turns frames into the features that the metrics compare.
    detector: finds the object in frames; None where no object is looked for.
    concept: what the object is called, in the words of the detector.
    kept: what should stay, in the words of the detector; "" for nothing.
    perceptual: measures the change from frame to frame; None compares features.
    distractors: texts of what may be seen besides the old and the new state; None takes those that follow from both.
    """

    extractor: Extractor
    detector: Detector | None = None
    concept: str = ""
    kept: str = ""
    perceptual: Perceptual | None = None
    distractors: tuple[str, ...] | None = None

    @property
    def reads_text(self) -> bool:
        """Whether the extractor has a text tower."""
        return self.extractor.texts(["text"]) is not None

    def warn_of_unknown_words(self, texts: Iterable[str]) -> None:
        """Logs words that the extractor has not learned, where that is known: only for the embedded model's CLIP."""
        if self.extractor.name == TINY:
            for text in texts:
                warn_of_unknown_words(text)

    def options(self) -> dict[str, Any]:
        """The arguments of metrics.evaluate_video that name the models, and what they compare with."""
        return {
            "extractor": self.extractor,
            "detector": self.detector,
            "vanishing": (self.concept,) if self.concept else (),
            "kept": (self.kept,) if self.kept else (),
            "perceptual": self.perceptual,
            "distractors": self.distractors_of,
        }

    def distractors_of(self, switch: Switch) -> tuple[str, ...]:
        """The distractors of a switch; of suggested ones those alone whose words the extractor has learned."""
        if self.distractors is not None:
            return self.distractors
        texts = suggested(switch)
        return tuple(text for text in texts if self.extractor.name != TINY or not unknown_words(text))

    def measured(self, frames: Any, fps: float) -> Clip | None:
        """A reference or target clip, measured once so that several videos can share it; None stays None."""
        return None if frames is None else measure_clip(frames, self.extractor, fps=fps)

    def confidences(self, frames: Any) -> dict[str, NDArray[np.float32]] | None:
        """The detector's confidence in each of `frames`, which hold no object; None without frames or detector."""
        if frames is None or self.detector is None:
            return None
        found = [self.detector.detect(batch, (self.concept,)).confidence for batch in batches_of(frames)]
        return {self.concept: np.concatenate(found)[:, 0]}


@dataclass(frozen=True, kw_only=True)
class ModelSources:
    """Where models are taken from.

    model: open_clip's name of a CLIP.
    pretrained: a tag of its weights, or a .safetensors file.
    clip_vision: a CLIP_VISION of ComfyUI, None where none is connected.
    detector_model: the folder of a detector, or its name in the hub's cache.
    device: a torch device, or its name.
    """

    model: str
    pretrained: str
    clip_vision: Any
    detector_model: str
    device: Any


def tiny_extractor() -> OpenClipExtractor:
    """The CLIP that ships with the embedded model, under the name `tiny`."""
    return OpenClipExtractor.from_config(WEIGHTS / "tiny-clip.json", WEIGHTS / "clip.safetensors", name=TINY)


def _host_extractor(clip_vision: Any) -> HostExtractor:
    if clip_vision is None:
        raise ValueError("features is clip_vision, but no model is connected: connect CLIP Vision Loader.")
    return HostExtractor(vision=clip_vision)


def _open_clip(sources: ModelSources) -> OpenClipExtractor:
    return OpenClipExtractor(sources.model, sources.pretrained, sources.device)


# The extractors and the detectors that users can choose, in the order of the widgets.
FEATURES: Mapping[str, Callable[[ModelSources], Extractor]] = {
    "clip": _open_clip,
    "pixel": lambda sources: PixelExtractor(),
    "tiny": lambda sources: tiny_extractor(),
    "clip_vision": lambda sources: _host_extractor(sources.clip_vision),
}
DETECTORS = ("auto", "clip", "owlv2", "grounding_dino", "tiny")
DETECTORS_WITH_BOXES = {"owlv2": Owlv2Detector, "grounding_dino": GroundingDinoDetector}


def load_models(
    features: str,
    *,
    model: str = MODEL,
    pretrained: str = PRETRAINED,
    clip_vision: Any = None,
    concept: str = "",
    detector: str = "auto",
    detector_model: str = "",
    distractors: str = "",
    kept: str = "",
    lpips: str = "",
) -> EvaluationModels:
    """Load the extractor `features` (a key of FEATURES), and the detector (one of DETECTORS) of a concept or of what is kept.

    model and pretrained are those of clip; clip_vision is ComfyUI's CLIP_VISION; detector_model is the folder or
    cached name of an owlv2 or grounding_dino model; distractors are read by `read_distractors`; lpips is a file of its
    weights, "" for none. Raises ValueError, FileNotFoundError or ModuleNotFoundError with what to do.
    """
    sources = ModelSources(
        model=model,
        pretrained=pretrained,
        clip_vision=clip_vision,
        detector_model=detector_model,
        device=_device(),
    )
    extractor = FEATURES[features](sources)
    concepts = [name for name in (concept, kept) if name]
    return EvaluationModels(
        extractor=extractor,
        detector=_load_detector(detector, extractor, concepts, sources) if concepts else None,
        concept=concept,
        kept=kept,
        distractors=read_distractors(distractors),
        perceptual=Lpips(lpips, device=sources.device) if lpips else None,
    )


def _load_detector(
    detector: str, extractor: Extractor, concepts: list[str], sources: ModelSources
) -> Detector:
    kind = detector if detector != "auto" else "tiny" if extractor.name == TINY else "clip"
    if kind == "tiny":
        return WorldDetector(concepts)
    if kind == "clip":
        return _zero_shot(extractor, detector, concepts[0], sources)
    return _detector_with_boxes(kind, sources)


def read_distractors(text: str) -> tuple[str, ...] | None:
    """Texts that stand on lines of their own or between semicolons; `none` is no text, and nothing is None."""
    texts = tuple(part.strip() for part in re.split(r"[;\n]", text) if part.strip())
    return None if not texts else () if texts == (NO_DISTRACTORS,) else texts


def _device() -> Any:
    if not inside_comfyui():
        return "cpu"
    from comfy.model_management import get_torch_device

    return get_torch_device()


def _zero_shot(extractor: Extractor, detector: str, concept: str, sources: ModelSources) -> ZeroShotDetector:
    """By the extractor where it reads text, else by a CLIP where that was chosen by name."""
    if extractor.texts([concept]) is not None:
        return ZeroShotDetector(extractor)
    if detector == "auto":
        raise ValueError(
            f"features {extractor.name} cannot read what {concept!r} is: choose features clip or tiny, or a detector "
            "(clip, owlv2, grounding_dino) with its model."
        )
    return ZeroShotDetector(_open_clip(sources))


def _detector_with_boxes(kind: str, sources: ModelSources) -> Detector:
    if not sources.detector_model:
        raise ValueError(
            f"the detector {kind} needs a model: give its folder, or its name in this machine's cache, as detector_model."
        )
    return DETECTORS_WITH_BOXES[kind](sources.detector_model, sources.device)
