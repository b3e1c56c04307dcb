"""FramePack Contrastive Guidance: the node around samplers.techniques.guidance.contrastive."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.base import PASTS
from ....samplers.techniques.guidance.contrastive import ANCHORS, ContrastiveGuidance
from ....samplers.techniques.wiring import with_technique
from ...widgets import advanced_widgets
from ..base import TechniqueNode, window


@advanced_widgets("without", "refusal", "past")
class FramePackContrastiveGuidance(TechniqueNode):
    DISPLAY_NAME = "FramePack Contrastive Guidance"
    SEARCH_ALIASES = (
        "negative history",
        "negative guidance",
        "old prompt as negative",
        "erase object",
        "concept removal",
        "prompt change",
        "transition",
    )
    DESCRIPTION = (
        "Pushes the picture away from what the old prompt, the packed past or a named concept would make of it. Each "
        "part that is on costs one more evaluation a step inside the window (refusal up to two, omega two without the full past)."
    )
    TECHNIQUE = ContrastiveGuidance

    @classmethod
    def optional(cls) -> dict[str, Any]:
        concept = {
            "tooltip": "What must not appear, such as 'a man', through CLIP Text Encode; needs refusal above 0."
        }
        past = {
            "default": "full",
            "tooltip": "How much of the packed past omega compares with: full, the start image alone (anchor), or none, which leaves the text's direction alone for one more evaluation a step.",
        }
        return {"concept": ("CONDITIONING", concept), "past": (list(PASTS), past)}

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        strength = {"min": 0.0, "max": 10.0, "step": 0.05}
        return {
            "omega": (
                "FLOAT",
                {
                    **strength,
                    "default": 1.0,
                    "tooltip": "How far away from the prompt before the switch; 0.3 to 1.5 are usual, 0 is off.",
                },
            ),
            "history": (
                "FLOAT",
                {
                    **strength,
                    "default": 1.0,
                    "tooltip": "How much the packed past counts: below 1 less, 1 is off, above 1 more.",
                },
            ),
            "without": (
                list(ANCHORS),
                {
                    "default": "anchor",
                    "tooltip": "What history is compared with: the start image alone (anchor), or no image at all (none).",
                },
            ),
            "refusal": (
                "FLOAT",
                {
                    **strength,
                    "default": 0.0,
                    "tooltip": "How strongly the concept is refused; 0 is off.",
                },
            ),
            **window(0.54),
        }

    def apply(self, model: Any, concept: Any = None, **values: Any) -> tuple[Any]:
        if not concept and values["refusal"]:
            raise ValueError(
                f"refusal is {values['refusal']:g}, but no concept is connected, or an empty one; connect a CLIP Text Encode that "
                "names what must not appear, or set refusal to 0."
            )
        return (with_technique(model, self.TECHNIQUE(**values), concept=concept),)
