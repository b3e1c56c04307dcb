"""The node FramePack Disappearance Evaluator."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...samplers.timeline.timeline import Timeline
from ..types import ROOT
from ..widgets import advanced_widgets
from .models import DETECTORS, load_models
from .results import mean_over_switches, node_result, seconds_to_completion
from .video_evaluation import VideoEvaluation, without_alpha
from .widgets import CLIP_VISION, COMMON_INPUTS, DISTRACTORS, IMAGES, PROMPT_INPUTS


@advanced_widgets("detector_model", "model", "pretrained", "fps", "window", "distractors", "kept")
class FramePackDisappearanceEvaluator:
    DISPLAY_NAME = "FramePack Disappearance Evaluator"
    SEARCH_ALIASES = (
        "score video",
        "evaluate video",
        "object gone",
        "object removal",
        "disappear",
        "detector",
    )
    DESCRIPTION = (
        "Measures whether an object is gone after a switch of the prompt, and stays away (DF), by a detector that "
        "looks for it in every frame."
    )
    CATEGORY = f"{ROOT}/Evaluation"
    FUNCTION = "evaluate"
    OUTPUT_NODE = True
    RETURN_TYPES = ("FLOAT", "FLOAT", "STRING", "IMAGE")
    RETURN_NAMES = ("DF", "TL", "report", "plot")
    OUTPUT_TOOLTIPS = (
        "Disappearance fidelity: 1 the object is gone, 0 it is seen as often as before. NaN where it cannot be said; the report says why.",
        "Seconds from the switch until the object is gone to stay. Infinity if that never happens, NaN where it cannot be said.",
        "All scores by switch, with the reasons of those that are not valid.",
        "The detector's confidence and other curves over time, and frames, in one picture.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": IMAGES,
                "concept": (
                    "STRING",
                    {
                        "default": "a man",
                        "tooltip": "What should disappear, in the words of the detector: a short noun phrase without the scene.",
                    },
                ),
                "detector": (
                    list(DETECTORS),
                    {
                        "default": "auto",
                        "tooltip": "What looks for it. owlv2 and grounding_dino find small objects, clip judges the whole frame, tiny knows the embedded model's world. auto is tiny with features tiny, else clip.",
                    },
                ),
                "detector_model": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Folder of the owlv2 or grounding_dino model, or its name in the cache of this machine. Nothing is downloaded.",
                    },
                ),
                **COMMON_INPUTS,
            },
            "optional": {
                **PROMPT_INPUTS,
                "object_free": (
                    "IMAGE",
                    {
                        "tooltip": "Frames of such a scene without the object. They say above which confidence it counts as seen; without them that is 0.5."
                    },
                ),
                "reference": (
                    "IMAGE",
                    {
                        "tooltip": "The new prompt generated without the old history. It shows how the place of the object should look afterwards; the report then has GAS there."
                    },
                ),
                "clip_vision": CLIP_VISION,
                "distractors": DISTRACTORS,
                "kept": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Something else that should stay, in the words of the detector. The report then says whether it is still the same one (identity), and scores fail where it is gone.",
                    },
                ),
            },
        }

    def evaluate(
        self,
        images: Tensor,
        *,
        concept: str,
        detector: str,
        detector_model: str,
        features: str,
        model: str,
        pretrained: str,
        fps: float,
        window: int,
        first_prompt: str = "",
        trace: Any = None,
        timeline: Timeline | None = None,
        object_free: Tensor | None = None,
        reference: Tensor | None = None,
        clip_vision: Any = None,
        distractors: str = "",
        kept: str = "",
    ) -> dict[str, Any]:
        if not concept.strip():
            raise ValueError("concept is empty; write what should disappear, for example: a man.")
        models = load_models(
            features,
            model=model,
            pretrained=pretrained,
            clip_vision=clip_vision,
            concept=concept.strip(),
            detector=detector,
            detector_model=detector_model,
            distractors=distractors,
            kept=kept.strip(),
        )
        scores = VideoEvaluation(
            models=models, fps=fps, window=window, first_prompt=first_prompt, timeline=timeline
        ).scores(
            images,
            trace,
            reference=without_alpha(reference),
            object_free=without_alpha(object_free),
            box="detected",
        )
        return node_result([scores], mean_over_switches(scores, "df"), seconds_to_completion(scores))
