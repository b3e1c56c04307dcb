"""FramePack RoPE Jitter: the node around samplers.techniques.attention.rope_jitter."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.attention.rope_jitter import RopeJitter
from ..base import TechniqueNode, window


class FramePackRopeJitter(TechniqueNode):
    DISPLAY_NAME = "FramePack RoPE Jitter"
    SEARCH_ALIASES = ("position noise", "rope", "more motion", "dynamics", "transition")
    DESCRIPTION = (
        "Lets every attention head measure time a little differently, so that the past does not line up for all of them at "
        "once. An experiment for long videos; off by default."
    )
    TECHNIQUE = RopeJitter

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        return {
            "sigma": (
                "FLOAT",
                {
                    "default": 0.0,
                    "min": 0.0,
                    "max": 0.9,
                    "step": 0.01,
                    "tooltip": "How far the heads' base frequencies along time differ; higher loosens the hold of distant frames and risks flicker, 0 is off.",
                },
            ),
            **window(0.0),
        }
