"""FramePack Step Cache: the node around samplers.techniques.schedule.step_cache."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.schedule.step_cache import CORRECTIONS, MODES, StepCache
from ...widgets import advanced_widgets
from ..base import TechniqueNode

EVERYWHERE = ("apply_to", "sections")


@advanced_widgets("longest_run", "first", "correction", "magnitudes")
class FramePackStepCache(TechniqueNode):
    DISPLAY_NAME = "FramePack Step Cache"
    SEARCH_ALIASES = (
        "teacache",
        "magcache",
        "fbcache",
        "first block cache",
        "easycache",
        "arcache",
        "speed",
        "faster",
    )
    DESCRIPTION = (
        "Samples faster: in steps that would change little, the blocks of the model are not run and what they added before is "
        "added again. Steps in which techniques begin or end, and the first section after a switch, are computed in full."
    )
    TECHNIQUE = StepCache

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required = super().INPUT_TYPES()["required"]
        return {"required": {name: spec for name, spec in required.items() if name not in EVERYWHERE}}

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        return {
            "mode": (
                list(MODES),
                {
                    "default": "history",
                    "tooltip": "What tells whether a step changes little. history: the packed past as the first block sees it; magcache: a table; teacache: past and window, as upstream; first_block: what the first block adds. measure reuses nothing and writes magcache's table into the trace.",
                },
            ),
            "threshold": (
                "FLOAT",
                {
                    "default": 0.2,
                    "min": 0.0,
                    "max": 10.0,
                    "step": 0.01,
                    "tooltip": "How much may change before a step is computed: higher is faster and less exact, 0 is off. history 0.1 to 0.3, magcache and teacache 0.1 to 0.15, first_block 0.08 to 0.12.",
                },
            ),
            "dense": (
                "INT",
                {
                    "default": 1,
                    "min": 0,
                    "max": 1000,
                    "tooltip": "How many sections after a prompt switch are computed in full, so that the change happens as without the cache; 0 caches them too.",
                },
            ),
            "longest_run": (
                "INT",
                {
                    "default": 3,
                    "min": 0,
                    "max": 1000,
                    "tooltip": "How many steps in a row may be reused at most; more is faster and less exact, 0 is no bound.",
                },
            ),
            "first": (
                "FLOAT",
                {
                    "default": 0.1,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.01,
                    "tooltip": "The share of a section's steps, from the first on, that is always computed; the layout of the picture is decided there. The last step always is.",
                },
            ),
            "correction": (
                list(CORRECTIONS),
                {
                    "default": "steady",
                    "tooltip": "How a reused step goes on. steady: half as fast as between the two latest computed ones; recorded: as in the first section of the shot, which is computed in full for it; none: not at all.",
                },
            ),
            "magnitudes": (
                "STRING",
                {
                    "default": "",
                    "tooltip": "Mode magcache: a ratio for every step after the first, as bench cache --calibrate prints them. Empty is the table published for FramePack F1 at 25 steps.",
                },
            ),
        }
