"""The node FramePack Transition Evaluator."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...samplers.timeline.timeline import Timeline
from ..types import ROOT
from ..widgets import advanced_widgets
from .models import load_models
from .results import mean_over_switches, node_result, seconds_to_completion
from .video_evaluation import VideoEvaluation, without_alpha
from .widgets import (
    CLIP_VISION,
    COMMON_INPUTS,
    DISTRACTORS,
    IMAGES,
    LPIPS,
    PENALTY,
    PROMPT_INPUTS,
    REFERENCE,
    TARGET,
)


@advanced_widgets("model", "pretrained", "fps", "window", "distractors", "penalty", "lpips")
class FramePackTransitionEvaluator:
    DISPLAY_NAME = "FramePack Transition Evaluator"
    SEARCH_ALIASES = (
        "score video",
        "evaluate video",
        "clip score",
        "transition latency",
        "did it change",
        "benchmark",
    )
    DESCRIPTION = (
        "Measures whether a video follows a change of its prompt (STF), how fast (TL), how much of the old scene "
        "lingers (GAS), and whether it moves as asked (DDI)."
    )
    CATEGORY = f"{ROOT}/Evaluation"
    FUNCTION = "evaluate"
    OUTPUT_NODE = True
    RETURN_TYPES = ("FLOAT", "FLOAT", "FLOAT", "FLOAT", "STRING", "IMAGE")
    RETURN_NAMES = ("STF", "TL", "GAS", "DDI", "report", "plot")
    OUTPUT_TOOLTIPS = (
        "Switch text fidelity: 1 the new prompt is seen, 0 nothing came of it. NaN where it cannot be said; the report says why.",
        "Seconds from the switch until 90 % of the change is done to stay. Infinity if that never happens, NaN where it cannot be said.",
        "Ghosting: 0 nothing of the old scene is left, 1 all of it. NaN without a reference.",
        "Intentional dynamics: motion where the new prompt is seen, less the motion elsewhere. NaN where it cannot be said.",
        "All scores by switch, calibrated and by the founding formula, with the reasons of those that are not valid.",
        "Curves over time and frames in one picture.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": IMAGES, **COMMON_INPUTS},
            "optional": {
                **PROMPT_INPUTS,
                "reference": REFERENCE,
                "target": TARGET,
                "clip_vision": CLIP_VISION,
                "distractors": DISTRACTORS,
                "penalty": PENALTY,
                "lpips": LPIPS,
            },
        }

    def evaluate(
        self,
        images: Tensor,
        *,
        features: str,
        model: str,
        pretrained: str,
        fps: float,
        window: int,
        first_prompt: str = "",
        trace: Any = None,
        timeline: Timeline | None = None,
        reference: Tensor | None = None,
        target: Tensor | None = None,
        clip_vision: Any = None,
        distractors: str = "",
        penalty: float = 1.0,
        lpips: str = "",
    ) -> dict[str, Any]:
        models = load_models(
            features,
            model=model,
            pretrained=pretrained,
            clip_vision=clip_vision,
            distractors=distractors,
            lpips=lpips.strip(),
        )
        evaluation = VideoEvaluation(
            models=models, fps=fps, window=window, first_prompt=first_prompt, timeline=timeline
        )
        scores = evaluation.scores(
            images,
            trace,
            reference=without_alpha(reference),
            target=without_alpha(target),
            penalty=penalty,
        )
        stf, gas, ddi = (mean_over_switches(scores, key) for key in ("stf", "gas", "ddi"))
        return node_result([scores], stf, seconds_to_completion(scores), gas, ddi)
