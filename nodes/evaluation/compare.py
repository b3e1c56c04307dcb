"""The node FramePack Compare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ...metrics import VideoScores
from ...samplers.timeline.timeline import Timeline
from ..types import ROOT, TRACE
from ..widgets import advanced_widgets
from .models import load_models
from .results import node_result
from .video_evaluation import VideoEvaluation, without_alpha
from .widgets import CLIP_VISION, COMMON_INPUTS, DISTRACTORS, LPIPS, PENALTY, PROMPT_INPUTS, REFERENCE, TARGET

VIDEOS = ("a", "b", "c", "d")


@advanced_widgets("model", "pretrained", "fps", "window", "distractors", "penalty", "lpips")
class FramePackCompare:
    DISPLAY_NAME = "FramePack Compare"
    SEARCH_ALIASES = ("compare videos", "side by side", "a/b test", "ab test", "score video", "benchmark")
    DESCRIPTION = (
        "Puts two to four videos of the same prompts side by side: scores in one table, curves over one another, "
        "frames below one another."
    )
    CATEGORY = f"{ROOT}/Evaluation"
    FUNCTION = "compare"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "IMAGE")
    RETURN_NAMES = ("report", "plot")
    OUTPUT_TOOLTIPS = (
        "The scores of all videos in one table.",
        "Curves over time and a strip of frames for each video in one picture.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        videos = {
            letter: ("IMAGE", {"tooltip": f"All frames of video {letter}; sizes and lengths may differ."})
            for letter in VIDEOS
        }
        traces = {
            f"trace_{letter}": (TRACE, {"tooltip": f"FramePack Sampler's trace of video {letter}."})
            for letter in VIDEOS
        }
        return {
            "required": {
                "images_a": videos["a"],
                "images_b": videos["b"],
                "names": (
                    "STRING",
                    {
                        "default": "a, b, c, d",
                        "tooltip": "How the videos are called in table and plot, separated by commas.",
                    },
                ),
                "concept": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "An object that should disappear, looked for with features clip and tiny; empty looks for none.",
                    },
                ),
                **COMMON_INPUTS,
            },
            "optional": {
                "images_c": videos["c"],
                "images_d": videos["d"],
                **traces,
                "timeline": PROMPT_INPUTS["timeline"],
                "reference": REFERENCE,
                "target": TARGET,
                "clip_vision": CLIP_VISION,
                "distractors": DISTRACTORS,
                "penalty": PENALTY,
                "lpips": LPIPS,
            },
        }

    def compare(
        self,
        images_a: Tensor,
        images_b: Tensor,
        *,
        images_c: Tensor | None = None,
        images_d: Tensor | None = None,
        trace_a: Any = None,
        trace_b: Any = None,
        trace_c: Any = None,
        trace_d: Any = None,
        names: str,
        concept: str,
        features: str,
        model: str,
        pretrained: str,
        fps: float,
        window: int,
        first_prompt: str = "",
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
            concept=concept.strip(),
            distractors=distractors,
            lpips=lpips.strip(),
        )
        evaluation = VideoEvaluation(
            models=models, fps=fps, window=window, first_prompt=first_prompt, timeline=timeline
        )
        clips = {
            "reference": models.measured(without_alpha(reference), fps),
            "target": models.measured(without_alpha(target), fps),
        }
        videos, traces = (images_a, images_b, images_c, images_d), (trace_a, trace_b, trace_c, trace_d)
        scores = [
            evaluation.scores(images, trace, name=letter, penalty=penalty, **clips)
            for letter, images, trace in zip(VIDEOS, videos, traces)
            if images is not None
        ]
        return node_result(_named(scores, names))


def _named(scores: list[VideoScores], names: str) -> list[VideoScores]:
    given = [name.strip() for name in names.split(",")]
    return [
        replace(video, name=given[i] if i < len(given) and given[i] else video.name)
        for i, video in enumerate(scores)
    ]
