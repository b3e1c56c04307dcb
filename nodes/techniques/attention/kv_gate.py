"""FramePack Semantic KV Gate: the node around samplers.techniques.attention.kv_gate."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.attention.kv_gate import MODES, TOKENS, SemanticKVGate
from ....samplers.techniques.wiring import with_technique
from ...widgets import advanced_widgets
from ..base import BLOCKS, CONCEPT, TechniqueNode, check_concept, check_mask, window


@advanced_widgets("start", "last", "history_2x", "history_4x", "image", "gate_text_rows", "threshold")
class FramePackSemanticKVGate(TechniqueNode):
    DISPLAY_NAME = "FramePack Semantic KV Gate"
    SEARCH_ALIASES = (
        "forget history",
        "attention mask",
        "kv cache",
        "memory gate",
        "prompt change",
        "scene change",
        "transition",
    )
    DESCRIPTION = (
        "Lowers the attention that the new section pays to the packed past while a change takes hold, by a bias, by a "
        "cap on the past's share, or by dropping it."
    )
    TECHNIQUE = SemanticKVGate

    @classmethod
    def optional(cls) -> dict[str, Any]:
        mask = {
            "tooltip": "White where the past is gated, for tokens mask and mask_with_motion; several masks are united. Any size: it is fitted to the picture."
        }
        tokens = {
            "default": "all",
            "tooltip": "Which tokens of the past are gated: all alike; those under the mask, or these with what moves along with them, such as a shadow; those that move over the remembered frames; those that stand still; those that show the concept; or (differing) those where the new prompt and the old one are drawn differently, which needs no words.",
        }
        return {"mask": ("MASK", mask), "tokens": (list(TOKENS), tokens), **CONCEPT}

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        weight = {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.1}
        return {
            "mode": (
                list(MODES),
                {
                    "default": "bias",
                    "tooltip": "bias lowers the past's logits by gamma times the change; founding by all of gamma above the threshold; cap bounds its share of attention; drop leaves it out.",
                },
            ),
            "gamma": (
                "FLOAT",
                {
                    "default": 1.0,
                    "min": 0.0,
                    "max": 100.0,
                    "step": 0.1,
                    "tooltip": "Strength of modes bias and founding; higher forgets more, 0 is off.",
                },
            ),
            "cap": (
                "FLOAT",
                {
                    "default": 0.1,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.01,
                    "tooltip": "Mode cap: the largest share of attention that the past may get; lower forgets more, 1 is off.",
                },
            ),
            "start": (
                "FLOAT",
                {**weight, "tooltip": "How much of gamma the start frame gets; 0 spares it in every mode."},
            ),
            "last": (
                "FLOAT",
                {
                    **weight,
                    "tooltip": "How much of gamma the last frame gets; 0 spares it in every mode, so that motion goes on from it.",
                },
            ),
            "history_2x": (
                "FLOAT",
                {
                    **weight,
                    "tooltip": "How much of gamma the recent compressed history gets; 0 spares it in every mode.",
                },
            ),
            "history_4x": (
                "FLOAT",
                {
                    **weight,
                    "tooltip": "How much of gamma the older compressed history gets; 0 spares it in every mode.",
                },
            ),
            "image": (
                "FLOAT",
                {
                    **weight,
                    "default": 0.0,
                    "tooltip": "How much of gamma the start image's vision tokens get; 0 spares them in every mode.",
                },
            ),
            "gate_text_rows": (
                "BOOLEAN",
                {
                    "default": False,
                    "tooltip": "Also gate what text and image tokens read, which otherwise relay the past to the picture.",
                },
            ),
            "threshold": (
                "FLOAT",
                {
                    "default": 0.0,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "tooltip": "Ignore switches whose change is below this; mode founding, below this or at it.",
                },
            ),
            **window(0.54),
            "blocks": BLOCKS,
        }

    def apply(
        self,
        model: Any,
        mask: Any = None,
        tokens: str = "all",
        *,
        concept: Any = None,
        keep: Any = None,
        **values: Any,
    ) -> tuple[Any]:
        check_mask("tokens", tokens, mask)
        check_concept("tokens", tokens, concept)
        technique = self.TECHNIQUE(**values, tokens=tokens)
        return (with_technique(model, technique, mask=mask, concept=concept, keep=keep),)
