"""FramePack Adaptive CFG: the node around samplers.techniques.guidance.adaptive_cfg."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.guidance.adaptive_cfg import SHAPES, TARGETS, AdaptiveCFG
from ...widgets import advanced_widgets
from ..base import TechniqueNode, window


@advanced_widgets("beta", "cfg_zero", "rescale", "zero_init", "concentration")
class FramePackAdaptiveCFG(TechniqueNode):
    DISPLAY_NAME = "FramePack Adaptive CFG"
    SEARCH_ALIASES = (
        "cfg schedule",
        "dynamic cfg",
        "guidance schedule",
        "cfg zero star",
        "prompt change",
        "transition",
    )
    DESCRIPTION = (
        "Changes guidance over the steps of a section. Real guidance early, while the picture is composed, is meant to "
        "let a new prompt win over the packed memory."
    )
    TECHNIQUE = AdaptiveCFG

    @classmethod
    def optional(cls) -> dict[str, Any]:
        return {
            "zero_init": (
                "FLOAT",
                {
                    "default": 0.0,
                    "min": 0.0,
                    "max": 0.5,
                    "step": 0.01,
                    "tooltip": "Share of progress at the start in which nothing moves and nothing is evaluated (zero-init of CFG-Zero*); 0.04 is the first of 25 steps, 0 is off.",
                },
            ),
            "peak": (
                "FLOAT",
                {
                    "default": 0.75,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.01,
                    "tooltip": "Where beta_curve is at base, in progress from 1 (noise) to 0 (clean); higher is earlier.",
                },
            ),
            "concentration": (
                "FLOAT",
                {
                    "default": 8.0,
                    "min": 0.0,
                    "max": 1000.0,
                    "step": 0.5,
                    "tooltip": "How narrow beta_curve is around its peak; 0 is flat.",
                },
            ),
        }

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        return {
            "target": (
                list(TARGETS),
                {
                    "default": "real",
                    "tooltip": "real raises classifier-free guidance (twice the time inside the window); distilled changes the scale built into the model at no cost; both does both.",
                },
            ),
            "shape": (
                list(SHAPES),
                {
                    "default": "interval",
                    "tooltip": "interval: base inside the window. high_early: strong first, falling. low_early: weak first, rising (the founding formula). low_early_t: the same over progress. beta_curve: a bell around peak.",
                },
            ),
            "base": (
                "FLOAT",
                {
                    "default": 5.0,
                    "min": 0.0,
                    "max": 100.0,
                    "step": 0.1,
                    "tooltip": "The scale at its strongest; 0 means the sampler's own.",
                },
            ),
            "minimum": (
                "FLOAT",
                {
                    "default": 1.0,
                    "min": 0.0,
                    "max": 100.0,
                    "step": 0.1,
                    "tooltip": "The scale at its weakest, for high_early, low_early and beta_curve.",
                },
            ),
            "beta": (
                "FLOAT",
                {
                    "default": 0.7,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "tooltip": "How far all shapes but interval move from base towards minimum; 0 stays at base, 1 goes all the way.",
                },
            ),
            **window(0.54),
            "cfg_zero": (
                "BOOLEAN",
                {
                    "default": False,
                    "tooltip": "Project the negative prediction on the positive one first (CFG-Zero*), against overshoot at high real guidance.",
                },
            ),
            "rescale": (
                "FLOAT",
                {
                    "default": 0.0,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "tooltip": "Pull the contrast back to normal while real guidance is high; 0 is off.",
                },
            ),
        }
