"""FramePack Low-Pass Guidance: the node around samplers.techniques.context.low_pass."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.context.low_pass import FILTERS, LowPassGuidance
from ....samplers.techniques.wiring import with_technique
from ...widgets import advanced_widgets
from ..base import TechniqueNode, window


@advanced_widgets("sigma", "noise", "start", "last", "history", "fade")
class FramePackLowPassGuidance(TechniqueNode):
    DISPLAY_NAME = "FramePack Low-Pass Guidance"
    SEARCH_ALIASES = ("low pass", "more motion", "dynamics", "blur start image", "static video", "transition")
    DESCRIPTION = (
        "Shows early steps a start and last frame without details, so that they cannot copy the old scene, and gives the "
        "details back later (Adaptive Low-Pass Guidance). Costs next to no time."
    )
    TECHNIQUE = LowPassGuidance

    @classmethod
    def optional(cls) -> dict[str, Any]:
        image = {
            "tooltip": "The start image, as it goes into VAE Encode: its image tokens are made without details too. Needs clip_vision."
        }
        vision = {
            "tooltip": "The model of the CLIP Vision Encode that feeds the sampler (SigLIP). Needs image."
        }
        return {"image": ("IMAGE", image), "clip_vision": ("CLIP_VISION", vision)}

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        share = {"min": 0.0, "max": 1.0, "step": 0.05}
        return {
            "filter": (
                list(FILTERS),
                {
                    "default": "resize",
                    "tooltip": "resize makes frames smaller by factor and large again (published); gaussian blurs by sigma; noise drowns details in noise.",
                },
            ),
            "factor": (
                "FLOAT",
                {
                    "default": 0.4,
                    "min": 0.01,
                    "max": 1.0,
                    "step": 0.005,
                    "tooltip": "Filter resize: the size in between; lower takes more away, 1 is off. Published: 0.25 to 0.625.",
                },
            ),
            "sigma": (
                "FLOAT",
                {
                    "default": 1.5,
                    "min": 0.0,
                    "max": 64.0,
                    "step": 0.1,
                    "tooltip": "Filter gaussian: the width in latents of 8 pixels; higher takes more away, 0 is off.",
                },
            ),
            "noise": (
                "FLOAT",
                {
                    **share,
                    "default": 0.7,
                    "tooltip": "Filter noise: how much noise; 1 leaves only each frame's mean, 0 is off.",
                },
            ),
            "start": (
                "FLOAT",
                {
                    **share,
                    "default": 1.0,
                    "tooltip": "How much of the filter the start frame gets; 0 spares it.",
                },
            ),
            "last": (
                "FLOAT",
                {
                    **share,
                    "default": 1.0,
                    "tooltip": "How much of the filter the last frame gets; 0 spares it, so that motion goes on from it.",
                },
            ),
            "history": (
                "FLOAT",
                {
                    **share,
                    "default": 0.0,
                    "tooltip": "How much of the filter the compressed history gets; 0 spares it.",
                },
            ),
            "vision": (
                "FLOAT",
                {
                    **share,
                    "default": 1.0,
                    "tooltip": "How far the start image's tokens are replaced by those of the filtered image, if image and clip_vision are connected; 0 spares them.",
                },
            ),
            **window(0.8),
            "fade": (
                "FLOAT",
                {
                    **share,
                    "default": 0.5,
                    "tooltip": "The last part of the window in which the details come back gradually; 0 switches at its end (published).",
                },
            ),
        }

    def apply(self, model: Any, image: Any = None, clip_vision: Any = None, **values: Any) -> tuple[Any]:
        technique = self.TECHNIQUE(**values)
        if (image is None) != (clip_vision is None):
            given, missing = ("clip_vision", "image") if image is None else ("image", "clip_vision")
            raise ValueError(
                f"{given} is connected but {missing} is not; connect both to filter the image tokens, or neither."
            )
        tokens = {} if image is None else technique.vision_pair(image, clip_vision)
        return (with_technique(model, technique, **tokens),)
