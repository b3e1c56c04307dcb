"""Nodes that say which prompt holds when."""

from __future__ import annotations

import logging
from typing import Any

from ..samplers.landing import land, landing_report, landing_warnings
from ..samplers.plan import FPS, MAX_WINDOW, section_count
from ..samplers.prompts import SYNTAXES, PromptSpan, parse
from ..samplers.timeline import Timeline, TimelineEntry
from .types import ROOT, TIMELINE

logger = logging.getLogger(__name__)

_EXAMPLE = "a man sits in a living room\n[3s: the man disappears => an empty living room]"
# More than the longest video has: enough to check a text before the video's length is known.
_MOST_SECTIONS = 5000


class FramePackTimelineEntry:
    DESCRIPTION = (
        "Lets a prompt take over at a moment of the video. Chain one node per prompt, the earliest first, and "
        "connect the last one to FramePack Sampler."
    )
    CATEGORY = f"{ROOT}/Timeline"
    FUNCTION = "add"
    RETURN_TYPES = (TIMELINE,)
    RETURN_NAMES = ("timeline",)
    OUTPUT_TOOLTIPS = ("All prompts so far, for the next entry or for FramePack Sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "conditioning": (
                    "CONDITIONING",
                    {"tooltip": "The prompt that takes over, through CLIP Text Encode."},
                ),
                "start": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 6000.0,
                        "step": 0.1,
                        "tooltip": "When the prompt takes over, in seconds of the video; the sampler moves it to the nearest section border.",
                    },
                ),
                "prompt": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "A name for the prompt in the sampler's trace and in reports; the picture does not depend on it.",
                    },
                ),
                "change": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "How much of the scene is meant to change. Techniques act in proportion: lower keeps more of the old scene, 0 leaves them off at this switch.",
                    },
                ),
            },
            "optional": {
                "timeline": (
                    TIMELINE,
                    {"tooltip": "The prompts before this one; leave it free for the first."},
                ),
            },
        }

    def add(
        self, conditioning: Any, start: float, prompt: str, change: float, timeline: Timeline | None = None
    ) -> tuple[Timeline]:
        entries = () if timeline is None else timeline.entries
        return (Timeline((*entries, TimelineEntry(start, prompt, conditioning, change))),)


class FramePackPromptTimeline:
    DESCRIPTION = (
        "Reads several prompts and their times from one text, encodes them, and says which sections of "
        "the video each one really gets."
    )
    CATEGORY = f"{ROOT}/Timeline"
    FUNCTION = "build"
    RETURN_TYPES = (TIMELINE, "CONDITIONING", "STRING")
    RETURN_NAMES = ("timeline", "positive", "report")
    OUTPUT_TOOLTIPS = (
        "All prompts, for FramePack Sampler.",
        "The first prompt, for FramePack Sampler's positive.",
        "Which sections, frames and seconds each prompt really gets, and a warning for those that get none.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip": ("CLIP", {"tooltip": "Encodes the prompts: DualCLIPLoader with type hunyuan_video."}),
                "text": (
                    "STRING",
                    {
                        "default": _EXAMPLE,
                        "multiline": True,
                        "tooltip": "The prompts and when they take over, such as: a man [3s: an empty room] [6s: night]. See the help page for the other notations.",
                    },
                ),
                "syntax": (
                    list(SYNTAXES),
                    {
                        "default": "auto",
                        "tooltip": "How the text is written: brackets are times in seconds, sections are numbers, bars and lines divide the video evenly. auto recognises it.",
                    },
                ),
                "seconds": (
                    "FLOAT",
                    {
                        "default": 5.0,
                        "min": 0.1,
                        "max": 600.0,
                        "step": 0.1,
                        "tooltip": "Length of the video, as in the sampler. The report and every syntax but brackets depend on it.",
                    },
                ),
                "window": (
                    "INT",
                    {
                        "default": 9,
                        "min": 1,
                        "max": MAX_WINDOW,
                        "tooltip": "Latent frames per section, as in the sampler. The report and every syntax but brackets depend on it.",
                    },
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, text: str | None = None, syntax: str | None = None) -> bool | str:
        """Refuse a wrong text before models are loaded; a connected input is None here and checked when it runs."""
        if text is None or syntax is None:
            return True
        try:
            parse(text, syntax, sections=_MOST_SECTIONS)
        except ValueError as error:
            return str(error)
        return True

    def build(
        self, clip: Any, text: str, syntax: str, seconds: float, window: int
    ) -> tuple[Timeline, Any, str]:
        if clip is None:
            raise ValueError(
                "clip is empty (some checkpoints hold no text encoder); connect DualCLIPLoader with "
                "type hunyuan_video."
            )
        count = section_count(seconds, window)
        spans = parse(text, syntax, sections=count, section_seconds=4 * window / FPS)
        landings = land(spans, count, window)
        for warning in landing_warnings(landings, count, window):
            logger.warning(warning)
        timeline = Timeline(tuple(_entries(clip, spans)))
        return timeline, timeline.entries[0].conditioning, landing_report(landings, count, window)


def _entries(clip: Any, spans: list[PromptSpan]) -> list[TimelineEntry]:
    """Spans with their conditionings, each distinct prompt encoded once; all but the first are full switches."""
    texts = dict.fromkeys(span.text for span in spans)
    encoded = {text: clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts}
    return [
        TimelineEntry(span.start, span.text, encoded[span.text], 1.0 if index else 0.0, span.state)
        for index, span in enumerate(spans)
    ]


NODE_CLASS_MAPPINGS = {
    "FramePackPromptTimeline": FramePackPromptTimeline,
    "FramePackTimelineEntry": FramePackTimelineEntry,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "FramePackPromptTimeline": "FramePack Prompt Timeline",
    "FramePackTimelineEntry": "FramePack Timeline Entry",
}
