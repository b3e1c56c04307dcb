"""FramePack Transition Sigmas: the node around samplers.techniques.schedule.transition_sigmas."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.schedule.transition_sigmas import MODES, TransitionSigmas
from ...widgets import advanced_widgets
from ..base import TechniqueNode


@advanced_widgets("width", "early")
class FramePackTransitionSigmas(TechniqueNode):
    DISPLAY_NAME = "FramePack Transition Sigmas"
    SEARCH_ALIASES = ("sigma schedule", "shift schedule", "scheduler", "prompt change", "transition")
    DESCRIPTION = (
        "Gives the sections after a switch noise levels of their own: a higher shift, more steps early, or more steps "
        "altogether, so that more of the work is done while the content of the picture is still open."
    )
    TECHNIQUE = TransitionSigmas

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        return {
            "mode": (
                list(MODES),
                {
                    "default": "shift",
                    "tooltip": "shift sets the shift; founding adds delta to mu, its logarithm; boost leaves it and crowds steps around points.",
                },
            ),
            "shift": (
                "FLOAT",
                {
                    "default": 12.0,
                    "min": 0.0,
                    "max": 100.0,
                    "step": 0.1,
                    "tooltip": "Mode shift: the shift of these sections; higher stays at high noise longer. FramePack's own is 7 at usual sizes, 0 keeps the sampler's.",
                },
            ),
            "delta": (
                "FLOAT",
                {
                    "default": 0.85,
                    "min": -3.0,
                    "max": 3.0,
                    "step": 0.05,
                    "tooltip": "Mode founding: added to mu; 0.85 turns a shift of 7 into 16.4, 0 is off.",
                },
            ),
            "boost": (
                "FLOAT",
                {
                    "default": 1.0,
                    "min": 0.0,
                    "max": 10.0,
                    "step": 0.1,
                    "tooltip": "Mode boost: how much denser steps lie around points; 1 is twice as dense, 0 is off.",
                },
            ),
            "points": (
                "STRING",
                {
                    "default": "0.9",
                    "tooltip": "Mode boost: where steps crowd, in progress from 1 (noise) to 0 (clean), such as '0.9, 0.5'. These are positions in denoising, not in the video.",
                },
            ),
            "width": (
                "FLOAT",
                {
                    "default": 0.1,
                    "min": 0.01,
                    "max": 1.0,
                    "step": 0.01,
                    "tooltip": "Mode boost: how far around a point steps are denser, in progress.",
                },
            ),
            "early": (
                "FLOAT",
                {
                    "default": 1.0,
                    "min": 0.1,
                    "max": 10.0,
                    "step": 0.1,
                    "tooltip": "How many times as dense steps lie at the start as at the end, in every mode; 1 is even.",
                },
            ),
            "extra_steps": (
                "INT",
                {
                    "default": 0,
                    "min": 0,
                    "max": 100,
                    "tooltip": "Steps added in these sections; each takes the time of a step.",
                },
            ),
        }
