"""FramePack Timeline Entry: a node for one prompt and the moment at which it takes over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...samplers.events import AUTO, EVENTS
from ...samplers.section_seeds import LARGEST_SEED
from ...samplers.timeline.timeline import LANDINGS, Timeline, TimelineEntry
from ..notices import announce, with_notices
from ..types import ROOT, TIMELINE
from ..widgets import MAX_BLEND, advanced_widgets
from ..workflow.encoding import crop_notices, picture_notices
from ..workflow.graph import WorkflowGraph

NO_SEED = -1


@advanced_widgets("change", "blend", "landing", "vision_strength", "section_seed")
class FramePackTimelineEntry:
    DISPLAY_NAME = "FramePack Timeline Entry"
    SEARCH_ALIASES = (
        "prompt schedule",
        "prompt change",
        "keyframe",
        "scene change",
        "cut",
        "second start image",
        "keep character",
        "storyboard",
    )
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
                        "tooltip": "When the prompt takes over, in seconds of the video; the sampler moves it to the nearest section border, unless landing is frame.",
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
                "start_latent": (
                    "LATENT",
                    {
                        "tooltip": "A keyframe through VAE Encode: from here on it is the start frame that all sections look back at. With cut, the new shot starts from it; the video does not show it itself."
                    },
                ),
                "clip_vision_output": (
                    "CLIP_VISION_OUTPUT",
                    {
                        "tooltip": "The keyframe through CLIP Vision Encode (SigLIP, crop none): its image tokens replace those in force."
                    },
                ),
                "cut": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Begin a new shot: sections after it remember nothing before it. It starts from this entry's start_latent, or from nothing without one.",
                    },
                ),
                "blend": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": MAX_BLEND,
                        "tooltip": "Sections on which the text moves from the old prompt to this one: more switch more softly and later, 0 switches at once.",
                    },
                ),
                "vision_strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 2.0,
                        "step": 0.01,
                        "tooltip": "Multiplies the image tokens while this entry holds: lower ties the scene less to the start image's content, 1 leaves them as they are.",
                    },
                ),
                "state": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "What is seen while this entry holds, such as: an empty room. Evaluation nodes look for it in place of the prompt; the picture does not depend on it.",
                    },
                ),
                "section_seed": (
                    "INT",
                    {
                        "default": NO_SEED,
                        "min": NO_SEED,
                        "max": LARGEST_SEED,
                        "tooltip": "Another number draws the first section of this entry with other noise; what is before it stays. -1 leaves it the sampler's seed.",
                    },
                ),
                "landing": (
                    list(LANDINGS),
                    {
                        "default": "border",
                        "tooltip": "border: the prompt takes over at the nearest border between two sections, up to 0.6 s away. frame: on the latent frame that was asked for (0.13 s), where a shorter section ends.",
                    },
                ),
                "event": (
                    list(EVENTS),
                    {
                        "default": AUTO,
                        "advanced": True,
                        "tooltip": "What happens here, for FramePack Dual Memory: something is gone, has a new look, or goes on in a new place; or everything changes (cut). auto: gone, or cut with a start_latent. Other techniques do not read it.",
                    },
                ),
                "recall": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "advanced": True,
                        "tooltip": "Go back to an earlier scene: a new shot as with cut, which goes on from what the earlier entry with the most similar text left, its start image included. Only in layout f1.",
                    },
                ),
                "keep": (
                    "CONDITIONING",
                    {
                        "tooltip": "With cut: words for what the new shot keeps of the one before, such as 'a man in a red coat', through CLIP Text Encode. Of the start frame and the last frame the parts that show it are remembered, and nothing else. Only in layout f1; one evaluation more."
                    },
                ),
            },
            "hidden": {"prompt_graph": "PROMPT", "unique_id": "UNIQUE_ID"},
        }

    def add(
        self,
        conditioning: Any,
        start: float,
        prompt: str,
        change: float,
        timeline: Timeline | None = None,
        start_latent: Any = None,
        clip_vision_output: Any = None,
        cut: bool = False,
        blend: int = 0,
        vision_strength: float = 1.0,
        state: str = "",
        section_seed: int = NO_SEED,
        landing: str = "border",
        event: str = AUTO,
        recall: bool = False,
        keep: Any = None,
        prompt_graph: Any = None,
        unique_id: Any = None,
    ) -> Any:
        entry = TimelineEntry(
            start=start,
            prompt=prompt,
            conditioning=conditioning,
            change=change,
            state=state,
            cut=cut or recall,
            blend=blend,
            start_latent=start_latent,
            clip_vision_output=clip_vision_output,
            vision_strength=vision_strength,
            section_seed=None if section_seed == NO_SEED else section_seed,
            landing=landing,
            event=event,
            recall=recall,
            keep=keep,
        )
        earlier = Timeline(()) if timeline is None else timeline
        notices = _keyframe_notices(WorkflowGraph(prompt_graph), unique_id, start_latent)
        announce(notices)
        return with_notices((replace(earlier, entries=(*earlier.entries, entry)),), notices)


def _keyframe_notices(graph: WorkflowGraph, node: Any, start_latent: Any) -> list[str]:
    """What the workflow says about a keyframe that was made of several images, or cropped for its image tokens."""
    samples = start_latent.get("samples") if isinstance(start_latent, dict) else None
    if not isinstance(samples, torch.Tensor) or samples.ndim < 2:
        return []  # no latent, or one that the sampler refuses with a sentence of its own
    height, width = samples.shape[-2:]
    return [
        *picture_notices(graph, node, "start_latent"),
        *crop_notices(graph, node, "clip_vision_output", (height, width)),
    ]
