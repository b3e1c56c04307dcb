"""FramePack Transition Preset: the node around samplers.techniques.presets."""

from __future__ import annotations

from typing import Any

from ...samplers.techniques.presets import PRESETS, preset_techniques
from ...samplers.techniques.wiring import with_technique
from ..types import ROOT
from .base import SECTION_DECAY


class FramePackTransitionPreset:
    DISPLAY_NAME = "FramePack Transition Preset"
    SEARCH_ALIASES = (
        "prompt change",
        "scene change",
        "transition",
        "preset",
        "make the change happen",
        "hunyuan",
    )
    DESCRIPTION = (
        "Adds a tried set of techniques in one node, so that a change of the prompt takes hold. Its help page lists what "
        "each preset holds and what it costs."
    )
    CATEGORY = f"{ROOT}/Techniques"
    FUNCTION = "apply"
    RETURN_TYPES = ("MODEL",)
    OUTPUT_TOOLTIPS = (
        "The model with the preset's techniques added; wire it on to more techniques or to FramePack Sampler.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "A FramePack model, with or without other techniques."}),
                "preset": (
                    list(PRESETS),
                    {
                        "default": "balanced",
                        "tooltip": "mild keeps most of the old picture, clean changes it at the least cost to the drawing, balanced lets a prompt win, strong forgets more, cut starts anew. founding and alignvid are for comparison.",
                    },
                ),
                "sections": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 100,
                        "tooltip": "How many sections after a switch it acts; more holds against the old scene longer. 0 is the preset's own.",
                    },
                ),
            },
            "optional": {
                "vae": (
                    "VAE",
                    {"tooltip": "Decodes the new start frame for its vision tokens; only read by cut."},
                ),
                "clip_vision": (
                    "CLIP_VISION",
                    {
                        "tooltip": "Makes the new start frame's vision tokens; without it and vae those of the start image stay, which still show the old scene. Only read by cut."
                    },
                ),
                "section_decay": SECTION_DECAY,
            },
        }

    def apply(
        self, model: Any, preset: str, sections: int, section_decay: float = 1.0, **objects: Any
    ) -> tuple[Any]:
        for technique in preset_techniques(preset, sections, section_decay):
            wanted = {name: objects[name] for name in objects.keys() & technique.attachment_names()}
            try:
                model = with_technique(model, technique, **wanted)
            except ValueError as error:
                raise ValueError(f"preset {preset} does not fit this model: {error}") from error
        return (model,)
