"""FramePack Attention Scaling: the node around samplers.techniques.attention.attention_scaling."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.attention.attention_scaling import AttentionScaling
from ..base import BLOCKS, TechniqueNode, window


class FramePackAttentionScaling(TechniqueNode):
    DISPLAY_NAME = "FramePack Attention Scaling"
    SEARCH_ALIASES = ("attention temperature", "logit scale", "more motion", "dynamics", "transition")
    DESCRIPTION = (
        "Sharpens attention early by scaling its keys, as the published AlignVid does to follow a prompt's changes; the "
        "help page lists its blocks."
    )
    TECHNIQUE = AttentionScaling

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        return {
            "scale": (
                "FLOAT",
                {
                    "default": 1.35,
                    "min": 0.0,
                    "max": 10.0,
                    "step": 0.05,
                    "tooltip": "Factor on the keys; higher is sharper, 1 is off.",
                },
            ),
            **window(0.56),
            "blocks": BLOCKS,
        }
