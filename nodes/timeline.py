"""Nodes that say which prompt holds when."""
from __future__ import annotations

from typing import Any

from ..samplers.timeline import Timeline, TimelineEntry
from .types import ROOT, TIMELINE


class FramePackTimelineEntry:
    DESCRIPTION = ("Lets a prompt take over at a moment of the video. Chain one node per prompt, the earliest first, and "
                   "connect the last one to FramePack Sampler.")
    CATEGORY = f"{ROOT}/Timeline"
    FUNCTION = "add"
    RETURN_TYPES = (TIMELINE,)
    RETURN_NAMES = ("timeline",)
    OUTPUT_TOOLTIPS = ("All prompts so far, for the next entry or for FramePack Sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "conditioning": ("CONDITIONING", {"tooltip": "The prompt that takes over, through CLIP Text Encode."}),
                "start": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 6000.0, "step": 0.1, "tooltip": "When the prompt takes over, in seconds of the video; the sampler moves it to the nearest section border."}),
                "prompt": ("STRING", {"default": "", "tooltip": "A name for the prompt in the sampler's trace and in reports; the picture does not depend on it."}),
                "change": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05, "tooltip": "How much of the scene is meant to change. Techniques act in proportion: lower keeps more of the old scene, 0 leaves them off at this switch."}),
            },
            "optional": {
                "timeline": (TIMELINE, {"tooltip": "The prompts before this one; leave it free for the first."}),
            },
        }

    def add(self, conditioning: Any, start: float, prompt: str, change: float,
            timeline: Timeline | None = None) -> tuple[Timeline]:
        entries = () if timeline is None else timeline.entries
        return (Timeline((*entries, TimelineEntry(start, prompt, conditioning, change))),)


NODE_CLASS_MAPPINGS = {"FramePackTimelineEntry": FramePackTimelineEntry}
NODE_DISPLAY_NAME_MAPPINGS = {"FramePackTimelineEntry": "FramePack Timeline Entry"}
