"""FramePack Context Purge: the node around samplers.techniques.context.purge."""

from __future__ import annotations

from typing import Any

from ....samplers.techniques.context.purge import ACTIONS, SELECTIONS, ContextPurge
from ....samplers.techniques.wiring import with_technique
from ...widgets import advanced_widgets
from ..base import CONCEPT, TechniqueNode, check_concept, check_mask, window

WHAT = "keep; remove: not packed at all; zero: empty latents; zero_kv: zero keys and values"


@advanced_widgets("seed", "gap", "threshold")
class FramePackContextPurge(TechniqueNode):
    DISPLAY_NAME = "FramePack Context Purge"
    SEARCH_ALIASES = (
        "forget history",
        "drop frames",
        "clear memory",
        "prompt change",
        "scene change",
        "cut",
        "transition",
    )
    DESCRIPTION = (
        "Flushes parts of the packed past at a change: takes them out, empties them, packs them more coarsely, or moves the "
        "history further away from the new frames."
    )
    TECHNIQUE = ContextPurge

    @classmethod
    def optional(cls) -> dict[str, Any]:
        mask = {
            "tooltip": "White where the past is purged, for select mask, mask_with_motion and random_in_mask; several masks are united. Any size: it is fitted to the picture."
        }
        return {"mask": ("MASK", mask), **CONCEPT}

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        def action(segment: str, default: str, what: str) -> tuple[Any, dict[str, Any]]:
            coarse = [choice for choice in ACTIONS[segment] if choice in ("2x", "4x")]
            more = f"; {' or '.join(coarse)}: compressed like older history" if coarse else ""
            return list(ACTIONS[segment]), {"default": default, "tooltip": f"{what}. {WHAT}{more}."}

        return {
            "start": action("start", "keep", "What becomes of the start frame"),
            "last": action("last", "2x", "What becomes of the last frame, next to the window"),
            "history_2x": action("2x", "remove", "What becomes of the recent compressed history"),
            "history_4x": action("4x", "remove", "What becomes of the older compressed history"),
            "image": action("image", "keep", "What becomes of the start image's vision tokens"),
            "select": (
                list(SELECTIONS),
                {
                    "default": "all",
                    "tooltip": "Which tokens remove, zero and zero_kv take: all; those under the mask, or these with what moves along with them, such as a shadow; a random share of all, or of those under the mask; those that the first step attended to most or least; those that show the concept; or (differing) those where the new prompt and the old one are drawn differently, which needs no words.",
                },
            ),
            "keep_ratio": (
                "FLOAT",
                {
                    "default": 0.5,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "tooltip": "Share of the tokens that stay with random, random_in_mask, most_attended and least_attended; lower forgets more, 1 keeps all.",
                },
            ),
            "seed": (
                "INT",
                {
                    "default": 0,
                    "min": 0,
                    "max": 0xFFFFFFFF,
                    "tooltip": "Which tokens random and random_in_mask take; another seed takes others.",
                },
            ),
            "gap": (
                "INT",
                {
                    "default": 0,
                    "min": 0,
                    "max": 100,
                    "tooltip": "Latent frames by which the history moves away from the window; more loosens its hold, 0 leaves it next to the window.",
                },
            ),
            "threshold": (
                "FLOAT",
                {
                    "default": 0.3,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "tooltip": "Ignore switches whose change is below this.",
                },
            ),
            **window(0.0),
        }

    def apply(
        self, model: Any, mask: Any = None, *, concept: Any = None, keep: Any = None, **values: Any
    ) -> tuple[Any]:
        check_mask("select", values["select"], mask)
        check_concept("select", values["select"], concept)
        technique = self.TECHNIQUE(**values)
        return (with_technique(model, technique, mask=mask, concept=concept, keep=keep),)
