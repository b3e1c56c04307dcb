"""FramePack Dual Memory: the node around samplers.techniques.attention.dual_memory."""

from __future__ import annotations

from typing import Any

from ....samplers.events import AUTO, EVENTS
from ....samplers.techniques.attention.dual_memory import CONTENT, DualMemory
from ....samplers.techniques.wiring import with_technique
from ..base import CONCEPT, TechniqueNode, check_concept, check_mask, window


class FramePackDualMemory(TechniqueNode):
    DISPLAY_NAME = "FramePack Dual Memory"
    SEARCH_ALIASES = (
        "forget object",
        "remove object",
        "keep background",
        "concept attention",
        "selective memory",
        "prompt change",
        "transition",
    )
    DESCRIPTION = (
        "Forgets what the past shows of a named thing and keeps the scene around it, or the other way round: the new frames pay "
        "less attention to one of the two groups of its tokens."
    )
    TECHNIQUE = DualMemory

    @classmethod
    def optional(cls) -> dict[str, Any]:
        mask = {
            "tooltip": "White where the content is, for tokens mask; several masks are united. Any size: it is fitted to the picture."
        }
        control = {
            "tooltip": "Words for something that is not in the picture, through CLIP Text Encode: looked for as well, for one more evaluation a section, and only shown beside the concept in the sampler's trace. Where both maps agree, the words have found nothing."
        }
        return {**CONCEPT, "mask": ("MASK", mask), "control": ("CONDITIONING", control)}

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        share = {"min": 0.0, "max": 1.0, "step": 0.05}
        return {
            "content": (
                "FLOAT",
                {
                    **share,
                    "default": 1.0,
                    "tooltip": "How much of the attention to the content is taken where an event forgets it; higher forgets more, 0 is off.",
                },
            ),
            "scene": (
                "FLOAT",
                {
                    **share,
                    "default": 0.6,
                    "tooltip": "How much of the attention to the scene around it is taken where an event forgets that; higher forgets more, 0 is off.",
                },
            ),
            "event": (
                list(EVENTS),
                {
                    "default": AUTO,
                    "tooltip": "gone forgets the content; new_look half of that; new_place the scene; cut both. auto: what the timeline entry says, or gone where it says nothing.",
                },
            ),
            "tokens": (
                list(CONTENT),
                {
                    "default": "concept",
                    "tooltip": "What the content is: the tokens of the past that show the concept, those under the mask, those that move over the remembered frames, or (differing) those where the new prompt and the old one are drawn differently, which needs no words.",
                },
            ),
            **window(0.54),
        }

    def apply(
        self,
        model: Any,
        *,
        concept: Any = None,
        keep: Any = None,
        mask: Any = None,
        control: Any = None,
        **values: Any,
    ) -> tuple[Any]:
        check_concept("tokens", values["tokens"], concept)
        check_mask("tokens", values["tokens"], mask)
        technique = self.TECHNIQUE(**values)
        return (with_technique(model, technique, concept=concept, keep=keep, mask=mask, control=control),)
