"""Nodes that measure how a video follows a change of its prompt."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import inf, nan
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...metrics import Cue, VideoScores, evaluate_video
from ...metrics.reporting.plot import plot_scores
from ...metrics.reporting.report import text_table
from ...samplers.timeline.timeline import Timeline
from ..output import new_output
from ..types import ROOT, TIMELINE, TRACE
from .extraction import DETECTORS, FEATURES, MODEL, PRETRAINED, Eyes, cues_of, frame_progress, open_eyes

logger = logging.getLogger(__name__)

PREVIEW_PREFIX = "framepack_evaluation"
LETTERS = ("a", "b", "c", "d")

_IMAGES = (
    "IMAGE",
    {"tooltip": "All frames of the video: the decoded latent of FramePack Sampler, start frame included."},
)
_LOOKS = {
    "features": (
        list(FEATURES),
        {
            "default": "clip",
            "tooltip": "What frames are compared by. clip understands the prompts; its weights must be on this machine. pixel needs nothing but reads no text. tiny knows the embedded model's world only. clip_vision uses the connected model and reads no text.",
        },
    ),
    "model": (
        "STRING",
        {
            "default": MODEL,
            "tooltip": "open_clip's name of the model behind clip. Larger ones tell finer differences and take longer.",
        },
    ),
    "pretrained": (
        "STRING",
        {
            "default": PRETRAINED,
            "tooltip": "Weights of that model: a tag of open_clip that is in the cache of this machine, or the path of a safetensors file. Nothing is downloaded.",
        },
    ),
    "fps": (
        "FLOAT",
        {
            "default": 30.0,
            "min": 1.0,
            "max": 240.0,
            "step": 0.01,
            "tooltip": "Frames per second of the video; times and the half second that a change must last follow it.",
        },
    ),
    "window": (
        "INT",
        {
            "default": 9,
            "min": 0,
            "max": 128,
            "tooltip": "Latent frames per section, as in the sampler: the timeline's switches move to the section borders where they really happened. 0 takes the timeline's times as they are. Not read with a trace.",
        },
    ),
    "first_prompt": (
        "STRING",
        {
            "default": "",
            "multiline": True,
            "tooltip": "The prompt before the timeline's first entry, where it is the sampler's positive: conditioning carries no text. Scores that read text compare with it.",
        },
    ),
}
_ASKED = {
    "trace": (
        TRACE,
        {"tooltip": "FramePack Sampler's trace: says exactly which frame each prompt begins at."},
    ),
    "timeline": (
        TIMELINE,
        {
            "tooltip": "The prompts and their times, for a video without a trace; with one, the times asked for."
        },
    ),
}
_CLIP_VISION = ("CLIP_VISION", {"tooltip": "The vision model of clip_vision, through CLIP Vision Loader."})
_REFERENCE = (
    "IMAGE",
    {
        "tooltip": "The new prompt generated without the old history, such as a video from a new start image. It shows what could be had: GAS needs it, STF and DDI are measured against it."
    },
)
_TARGET = (
    "IMAGE",
    {
        "tooltip": "One or more pictures of what should be seen after the switch. TL then waits for them instead of where the video ends up, and STF works without a text model."
    },
)


class FramePackTransitionEvaluator:
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
        "Scores, curves over time and frames in one picture.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": _IMAGES, **_LOOKS},
            "optional": {
                **_ASKED,
                "reference": _REFERENCE,
                "target": _TARGET,
                "clip_vision": _CLIP_VISION,
            },
        }

    def evaluate(
        self,
        images: Tensor,
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
    ) -> dict[str, Any]:
        eyes = open_eyes(features, model=model, pretrained=pretrained, clip_vision=clip_vision)
        asked = _asked(trace, timeline, first_prompt, eyes)
        clips = {"reference": _rgb(reference), "target": _rgb(target)}
        scores = _evaluated(images, eyes, asked, fps, window, **clips)
        return _answer(
            [scores], _mean(scores, "stf"), _latency(scores), _mean(scores, "gas"), _mean(scores, "ddi")
        )


class FramePackDisappearanceEvaluator:
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
        "Scores, the detector's confidence over time and frames in one picture.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": _IMAGES,
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
                **_LOOKS,
            },
            "optional": {
                **_ASKED,
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
                "clip_vision": _CLIP_VISION,
            },
        }

    def evaluate(
        self,
        images: Tensor,
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
    ) -> dict[str, Any]:
        if not concept.strip():
            raise ValueError("concept is empty; write what should disappear, for example: a man.")
        eyes = open_eyes(
            features,
            model=model,
            pretrained=pretrained,
            clip_vision=clip_vision,
            concept=concept.strip(),
            detector=detector,
            detector_model=detector_model,
        )
        asked = _asked(trace, timeline, first_prompt, eyes)
        clips = {"reference": _rgb(reference), "object_free": _rgb(object_free), "box": "detected"}
        scores = _evaluated(images, eyes, asked, fps, window, **clips)
        return _answer([scores], _mean(scores, "df"), _latency(scores))


class FramePackCompare:
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
        "Scores, curves over time and a strip of frames for each video in one picture.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        videos = {
            letter: ("IMAGE", {"tooltip": f"All frames of video {letter}; sizes and lengths may differ."})
            for letter in LETTERS
        }
        traces = {
            f"trace_{letter}": (TRACE, {"tooltip": f"FramePack Sampler's trace of video {letter}."})
            for letter in LETTERS
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
                **_LOOKS,
            },
            "optional": {
                "images_c": videos["c"],
                "images_d": videos["d"],
                **traces,
                "timeline": _ASKED["timeline"],
                "reference": _REFERENCE,
                "target": _TARGET,
                "clip_vision": _CLIP_VISION,
            },
        }

    def compare(
        self,
        images_a: Tensor,
        images_b: Tensor,
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
        **more: Any,
    ) -> dict[str, Any]:
        eyes = open_eyes(
            features, model=model, pretrained=pretrained, clip_vision=clip_vision, concept=concept.strip()
        )
        clips = {
            "reference": eyes.measured(_rgb(reference), fps),
            "target": eyes.measured(_rgb(target), fps),
        }
        videos = {"a": images_a, "b": images_b, "c": more.get("images_c"), "d": more.get("images_d")}
        scores = []
        for letter, images in videos.items():
            if images is not None:
                asked = _asked(more.get(f"trace_{letter}"), timeline, first_prompt, eyes)
                scores.append(_evaluated(images, eyes, asked, fps, window, name=letter, **clips))
        return _answer(_named(scores, names))


Asked = tuple[Any, tuple[Cue, ...]]


def _asked(trace: Any, timeline: Timeline | None, first_prompt: str, eyes: Eyes) -> Asked:
    """Trace and cues with the first prompt filled in; raises ValueError where its text is needed and missing."""
    first = first_prompt.strip()
    cues = cues_of(timeline, first)
    if trace is not None:
        sections = [
            section if section["prompt"].strip() else {**section, "prompt": first}
            for section in trace.get("sections", ())
        ]
        trace = {**trace, "sections": sections}
    texts = [section["prompt"] for section in trace["sections"]] if trace else [cue.text for cue in cues]
    if len(set(texts)) > 1 and not all(texts) and eyes.reads:
        raise ValueError(
            "the text of the first prompt is not known, as it came as conditioning: write it into first_prompt."
        )
    return trace, cues


def _evaluated(
    images: Tensor, eyes: Eyes, asked: Asked, fps: float, window: int, **options: Any
) -> VideoScores:
    trace, cues = asked
    _check(images, trace)
    return evaluate_video(
        _rgb(images),
        cues,
        fps=fps,
        window=window,
        trace=trace,
        progress=frame_progress(len(images)),
        **eyes.options(),
        **options,
    )


def _check(images: Tensor, trace: Any) -> None:
    """A trace of another video would place the switches wrongly."""
    if images.ndim != 4 or images.shape[-1] < 3 or not len(images):
        raise ValueError(f"images are {list(images.shape)}, expected [frames, height, width, 3].")
    if trace is None or not trace["sections"]:
        return
    frames = max(section["frames"][1] for section in trace["sections"])
    if frames != len(images):
        logger.warning(
            "The trace tells of %d frames, but there are %d images: are they of the same sampler, and all of them?",
            frames,
            len(images),
        )


def _rgb(images: Tensor | None) -> Tensor | None:
    return None if images is None else images[..., :3]


def _named(scores: list[VideoScores], names: str) -> list[VideoScores]:
    given = [name.strip() for name in names.split(",")]
    return [
        replace(video, name=given[i] if i < len(given) and given[i] else video.name)
        for i, video in enumerate(scores)
    ]


def _mean(scores: VideoScores, key: str) -> float:
    """Mean of the valid values over the switches, NaN without one."""
    return float(scores.summary.get(key, nan))


def _latency(scores: VideoScores) -> float:
    """Seconds until the change is complete: a restricted mean over the switches, infinity where none gets there."""
    if scores.summary.get("tl90_reached") == 0:
        return inf
    return float(scores.summary.get("tl90_restricted_mean", nan)) / scores.fps


def _answer(scores: list[VideoScores], *values: float) -> dict[str, Any]:
    """The node's outputs, and the same text and picture for the interface."""
    report, plot = text_table(scores), plot_scores(scores)
    picture = torch.from_numpy(plot).float().div(255)[None]
    return {"ui": {**_preview(plot), "text": [report]}, "result": (*values, report, picture)}


def _preview(plot: Any) -> dict[str, Any]:
    height, width = plot.shape[:2]
    with new_output(PREVIEW_PREFIX, ".png", (width, height), temporary=True) as file:
        Image.fromarray(plot).save(file.path, format="PNG")
    return {"images": [file.shown()]}


NODE_CLASS_MAPPINGS = {
    "FramePackTransitionEvaluator": FramePackTransitionEvaluator,
    "FramePackDisappearanceEvaluator": FramePackDisappearanceEvaluator,
    "FramePackCompare": FramePackCompare,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "FramePackTransitionEvaluator": "FramePack Transition Evaluator",
    "FramePackDisappearanceEvaluator": "FramePack Disappearance Evaluator",
    "FramePackCompare": "FramePack Compare",
}
