"""FramePack Context Blur: the node around samplers.techniques.context.blur."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.context.blur import MODES, ContextBlur
from ...widgets import advanced_widgets
from ..base import TechniqueNode, window


@advanced_widgets("time_last", "time_2x", "time_4x", "alpha", "band", "decay", "decay_start")
class FramePackContextBlur(TechniqueNode):
    DISPLAY_NAME = "FramePack Context Blur"
    SEARCH_ALIASES = ("blur history", "blur memory", "prompt change", "scene change", "transition")
    DESCRIPTION = (
        "Takes details, coarse shapes or both from the packed past, the more the farther away it lies, so that the old "
        "scene is not drawn again from memory. Costs next to no time."
    )
    TECHNIQUE = ContextBlur

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        width = {"min": 0.0, "max": 64.0, "step": 0.1}
        space, time = {**width, "default": 1.0}, {**width, "default": 0.0}
        return {
            "mode": (
                list(MODES),
                {
                    "default": "low_pass",
                    "tooltip": "low_pass takes details away, high_pass coarse shapes, band both; founding is low_pass with decay on values.",
                },
            ),
            "strength": (
                "FLOAT",
                {
                    "default": 1.0,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "tooltip": "How much of the filtered past is blended in; 0 filters nothing.",
                },
            ),
            "start": (
                "FLOAT",
                {
                    **space,
                    "tooltip": "Width of the filter on the start frame, in latents of 8 pixels; low_pass and founding forget more with more, high_pass with less. 0 spares it.",
                },
            ),
            "last": (
                "FLOAT",
                {
                    **space,
                    "tooltip": "The same for the last frame, which the new section moves on from; 0 spares it.",
                },
            ),
            "history_2x": (
                "FLOAT",
                {
                    **space,
                    "tooltip": "The same for the recent compressed history; 0 leaves it to time_2x alone.",
                },
            ),
            "history_4x": (
                "FLOAT",
                {
                    **space,
                    "tooltip": "The same for the older compressed history, which compression has blurred already; 0 leaves it to time_4x alone.",
                },
            ),
            "time_last": (
                "FLOAT",
                {
                    **time,
                    "tooltip": "Width in time of the filter on the last frame, in latent frames; more mixes in more of the history before it, 0 none.",
                },
            ),
            "time_2x": (
                "FLOAT",
                {
                    **time,
                    "tooltip": "Width in time on the recent compressed history; more mixes in more neighbours, 0 none.",
                },
            ),
            "time_4x": (
                "FLOAT",
                {
                    **time,
                    "tooltip": "Width in time on the older compressed history; more mixes in more neighbours, 0 none.",
                },
            ),
            "alpha": (
                "FLOAT",
                {
                    "default": 0.1,
                    "min": 0.0,
                    "max": 10.0,
                    "step": 0.05,
                    "tooltip": "How fast all widths grow with distance to the window; 0 keeps them the same.",
                },
            ),
            "band": (
                "FLOAT",
                {
                    "default": 4.0,
                    "min": 1.0,
                    "max": 100.0,
                    "step": 0.5,
                    "tooltip": "Mode band: how many times as wide the filter is that takes coarse shapes away; higher keeps more of them, 1 nothing at all.",
                },
            ),
            "decay": (
                "FLOAT",
                {
                    "default": 0.0,
                    "min": 0.0,
                    "max": 10.0,
                    "step": 0.01,
                    "tooltip": "How much attention is lost with every latent frame of distance (mode founding: how much of the values); 0 is off.",
                },
            ),
            "decay_start": (
                "BOOLEAN",
                {
                    "default": True,
                    "tooltip": "Let decay act on the start frame too, the farthest of all; off spares the anchor.",
                },
            ),
            **window(0.0),
        }
