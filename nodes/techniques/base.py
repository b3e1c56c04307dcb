"""What technique nodes share: MODEL in, MODEL out, to be chained in any order between loader and sampler."""

from __future__ import annotations

from typing import Any

from ...samplers.context.tokens import WITH_MOTION, mask_cells
from ...samplers.techniques.base import APPLY_TO, Technique
from ...samplers.techniques.wiring import with_technique
from ..types import ROOT

SECTION_DECAY = (
    "FLOAT",
    {
        "default": 1.0,
        "min": 0.0,
        "max": 1.0,
        "step": 0.05,
        "advanced": True,
        "tooltip": "With sections above 1: how much each section gets of what the one before it got. 1 acts in full and then stops at once, lower fades out.",
    },
)


class TechniqueNode:
    """What technique nodes share: a MODEL in and out, and when the technique acts."""

    CATEGORY = f"{ROOT}/Techniques"
    FUNCTION = "apply"
    RETURN_TYPES = ("MODEL",)
    OUTPUT_TOOLTIPS = (
        "The model with this technique added; wire it on to the next technique or to FramePack Sampler.",
    )
    TECHNIQUE: type[Technique]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "A FramePack model, with or without other techniques."}),
                **cls.widgets(),
                "apply_to": (
                    list(APPLY_TO),
                    {
                        "default": "transition",
                        "advanced": True,
                        "tooltip": "transition acts after prompt switches of a timeline only; later_prompts in all sections of its later prompts, in layout original also in those made before the switch is met; all acts in every section.",
                    },
                ),
                "sections": (
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": 100,
                        "tooltip": "How many sections after a switch the technique acts; more holds against the old scene longer.",
                    },
                ),
            },
            "optional": {**cls.optional(), "section_decay": SECTION_DECAY},
        }

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def optional(cls) -> dict[str, Any]:
        """Its optional inputs. Saved workflows list the values of widgets in order, so that new ones come last."""
        return {}

    def apply(self, model: Any, **values: Any) -> tuple[Any]:
        return (with_technique(model, self.TECHNIQUE(**values)),)


def window(t_end: float) -> dict[str, Any]:
    """The inputs t_start and t_end, the window of progress in which a technique works."""
    tooltip = "Unshifted progress, counting down from 1 (noise) to 0 (clean); at FramePack's shift of 7, t 0.54 is sigma 0.89."
    return {
        "t_start": (
            "FLOAT",
            {
                "default": 1.0,
                "min": 0.0,
                "max": 1.0,
                "step": 0.01,
                "advanced": True,
                "tooltip": f"Where the technique begins. {tooltip}",
            },
        ),
        "t_end": (
            "FLOAT",
            {
                "default": t_end,
                "min": 0.0,
                "max": 1.0,
                "step": 0.01,
                "advanced": True,
                "tooltip": f"Where the technique ends; lower acts longer. {tooltip}",
            },
        ),
    }


def check_mask(name: str, choice: str, mask: Any) -> None:
    """Raises ValueError where a choice that names a mask has none to go by, or one that is no picture's."""
    if choice in ("mask", "random_in_mask", WITH_MOTION) and mask is None:
        raise ValueError(
            f"{name} is {choice}, but no mask is connected; connect a MASK, or choose another {name}."
        )
    if mask is not None:
        mask_cells(mask, 1, 1)


CONCEPT = {
    "concept": (
        "CONDITIONING",
        {
            "tooltip": "What is meant, such as 'a man', through CLIP Text Encode: the model is asked, in one evaluation a section, which parts of the past show it."
        },
    ),
    "keep": (
        "CONDITIONING",
        {
            "tooltip": "What the concept must be told from, such as 'a woman', through CLIP Text Encode, beside the prompt in force, which should name what stays."
        },
    ),
}


def check_concept(name: str, choice: str, concept: Any) -> None:
    """Raises ValueError where a choice asks for a concept and none is connected."""
    if choice == "concept" and not concept:
        raise ValueError(
            f"{name} is concept, but no concept is connected, or an empty one; connect a CLIP Text Encode that names it, or choose "
            f"another {name}."
        )


BLOCKS = (
    "STRING",
    {
        "default": "",
        "advanced": True,
        "tooltip": "Transformer blocks it acts in, such as 'double:0-3; single:0-7,12'; empty means all.",
    },
)
