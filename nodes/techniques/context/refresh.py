"""FramePack Context Refresh: the node around samplers.techniques.context.refresh."""

from __future__ import annotations

from typing import Any

from ....samplers.context.plan import MAX_WINDOW
from ....samplers.techniques.base import PASTS
from ....samplers.techniques.context.refresh import ANCHORS, HISTORIES, ContextRefresh
from ....samplers.techniques.wiring import with_technique
from ...widgets import advanced_widgets
from ..base import TechniqueNode


@advanced_widgets("sees", "anchor", "history")
class FramePackContextRefresh(TechniqueNode):
    DISPLAY_NAME = "FramePack Context Refresh"
    SEARCH_ALIASES = (
        "rewrite history",
        "edit memory",
        "re-anchor",
        "prompt change",
        "scene change",
        "transition",
    )
    DESCRIPTION = (
        "Denoises what is remembered of the old scene again under the new prompt, right after a switch, so that the next "
        "section goes on from it. The frames already shown stay as they are."
    )
    TECHNIQUE = ContextRefresh

    @classmethod
    def optional(cls) -> dict[str, Any]:
        return {
            "vae": (
                "VAE",
                {
                    "tooltip": "Decodes the new anchor for its vision tokens; only read where anchor is replaced."
                },
            ),
            "clip_vision": (
                "CLIP_VISION",
                {
                    "tooltip": "Makes the new anchor's vision tokens; without it the start image's stay, which still show the old scene."
                },
            ),
        }

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        return {
            "strength": (
                "FLOAT",
                {
                    "default": 0.75,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "tooltip": "The noise level to start again from: higher keeps less of the old scene; 0.6 to 0.9 are usual, 0 is off.",
                },
            ),
            "frames": (
                "INT",
                {
                    "default": 0,
                    "min": 0,
                    "max": MAX_WINDOW,
                    "tooltip": "How many of the latent frames next to the new section are replaced; 0 means a whole window.",
                },
            ),
            "sees": (
                list(PASTS),
                {
                    "default": "full",
                    "tooltip": "What the refreshed frames see of what was before them: all of it, the start image alone (anchor), or nothing (none).",
                },
            ),
            "anchor": (
                list(ANCHORS),
                {
                    "default": "kept",
                    "tooltip": "replaced makes the refreshed frame the new start frame, so that the old scene cannot come back from there.",
                },
            ),
            "history": (
                list(HISTORIES),
                {
                    "default": "kept",
                    "tooltip": "emptied forgets everything beyond the refreshed frames.",
                },
            ),
        }

    def apply(self, model: Any, vae: Any = None, clip_vision: Any = None, **values: Any) -> tuple[Any]:
        return (with_technique(model, self.TECHNIQUE(**values), vae=vae, clip_vision=clip_vision),)
