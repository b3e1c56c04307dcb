"""FramePack Technique Preview: the node around samplers.denoising.preview and trace_plot."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...samplers.conditioning import Prompt
from ...samplers.context.plan import LAYOUTS, plan_sections, section_count
from ...samplers.denoising.preview import preview_trace
from ...samplers.guidance import Guidance
from ...samplers.settings import SampleSettings
from ...samplers.techniques.wiring import framepack_config, techniques_of
from ...samplers.timeline.assignment import assign_prompts, frame_borders
from .. import widgets
from ..types import ROOT, TIMELINE, TRACE
from .concept_plot import plot_concepts
from .trace_plot import plot_trace

USUAL_SIZE = (80, 80)  # latent pixels of 640x640


class FramePackTechniquePreview:
    DISPLAY_NAME = "FramePack Technique Preview"
    SEARCH_ALIASES = ("plot techniques", "preview schedule", "sigma plot", "guidance plot", "trace plot")
    DESCRIPTION = (
        "Draws what the techniques on a model will do, step by step and section by section, before anything is rendered: "
        "noise levels, guidance, evaluations, attention to the past and every technique's own values."
    )
    CATEGORY = f"{ROOT}/Techniques"
    FUNCTION = "draw"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("picture",)
    OUTPUT_TOOLTIPS = ("The curves as one picture, for Preview Image.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "A FramePack model with the techniques to look at."}),
                "layout": (
                    list(LAYOUTS),
                    {"default": "f1", "tooltip": "As in the sampler; decides the order of the sections."},
                ),
                "seconds": (
                    "FLOAT",
                    {**widgets.SECONDS, "tooltip": "As in the sampler: more seconds mean more sections."},
                ),
                "window": (
                    "INT",
                    {**widgets.WINDOW, "tooltip": "As in the sampler: smaller windows mean more sections."},
                ),
                "steps": (
                    "INT",
                    {**widgets.STEPS, "tooltip": "As in the sampler: more steps draw finer curves."},
                ),
                "distilled_guidance": (
                    "FLOAT",
                    {
                        **widgets.DISTILLED_GUIDANCE,
                        "tooltip": "As in the sampler: the scale where no technique changes it.",
                    },
                ),
                "cfg": (
                    "FLOAT",
                    {
                        **widgets.CFG,
                        "tooltip": "As in the sampler: the scale where no technique changes it; anything but 1 doubles the evaluations.",
                    },
                ),
                "shift": (
                    "FLOAT",
                    {
                        **widgets.SHIFT,
                        "tooltip": "As in the sampler: higher bends sigma upwards; 0 is the automatic value for the size.",
                    },
                ),
            },
            "optional": {
                "timeline": (
                    TIMELINE,
                    {
                        "tooltip": "The sampler's timeline; without it there is no switch for techniques to act at."
                    },
                ),
                "start_latent": (
                    "LATENT",
                    {
                        "tooltip": "The sampler's start latent, for its size and for text to video; without it an image of 640x640 is assumed."
                    },
                ),
                "sigmas": (
                    "SIGMAS",
                    {"tooltip": "A schedule that replaces steps and shift, as in the sampler."},
                ),
                "trace": (
                    TRACE,
                    {
                        "tooltip": "A trace of FramePack Sampler: draws what was done there, with the maps of the concepts that were looked for, and reads nothing else."
                    },
                ),
            },
        }

    def draw(
        self,
        model: Any,
        layout: str,
        seconds: float,
        window: int,
        steps: int,
        distilled_guidance: float,
        cfg: float,
        shift: float,
        timeline: Any = None,
        start_latent: Any = None,
        sigmas: Any = None,
        trace: Any = None,
    ) -> tuple[Any]:
        if trace is None:
            framepack_config(model)
            guidance = Guidance(distilled=distilled_guidance, cfg=cfg)
            settings = SampleSettings(
                layout=layout, window=window, steps=steps, shift=shift, guidance=guidance
            )
            # An empty start latent is text to video, whose sections begin a frame earlier.
            has_start = start_latent is None or bool(torch.count_nonzero(start_latent["samples"]))
            prompts = _prompts(timeline)
            planned = plan_sections(
                layout,
                section_count(seconds, window),
                window,
                keeps_start=has_start,
                borders=frame_borders(prompts),
            )
            sections = assign_prompts(planned, prompts)
            size = USUAL_SIZE if start_latent is None else tuple(start_latent["samples"].shape[-2:])
            techniques = techniques_of(model.model_options)
            trace = preview_trace(techniques, sections, settings, size=size, sigmas=sigmas)
        maps = plot_concepts(trace)
        picture = plot_trace(trace) if maps is None else np.concatenate([plot_trace(trace), maps])
        return (torch.from_numpy(picture).float()[None] / 255,)


def _prompts(timeline: Any) -> list[Prompt]:
    """A timeline's entries without their tensors, after the prompt that holds until the first one."""
    entries = [] if timeline is None else timeline.entries
    prompts = [
        Prompt(
            start=entry.start,
            text=entry.prompt,
            change=entry.change,
            state=entry.state,
            cut=entry.cut,
            recall=entry.recall,
            blend=entry.blend,
            landing=entry.landing,
            event=entry.event,
        )
        for entry in entries
    ]
    begins = prompts and prompts[0].start == 0
    return prompts if begins else [Prompt(start=0.0, text="", change=0.0), *prompts]
