"""Technique nodes: MODEL in, MODEL out, to be chained in any order between loader and sampler."""

from __future__ import annotations

from typing import Any

from ..samplers.techniques.adaptive_cfg import SHAPES, TARGETS, AdaptiveCFG
from ..samplers.techniques.attention_scaling import AttentionScaling
from ..samplers.techniques.base import APPLY_TO, Technique, with_technique
from ..samplers.techniques.kv_gate import MODES, SemanticKVGate
from .types import ROOT


class _TechniqueNode:
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
                        "tooltip": "transition acts after prompt switches of a timeline only; all acts in every section.",
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
            }
        }

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        raise NotImplementedError

    def apply(self, model: Any, **values: Any) -> tuple[Any]:
        return (with_technique(model, self.TECHNIQUE(**values)),)


def _window(t_end: float) -> dict[str, Any]:
    tooltip = "Unshifted progress, counting down from 1 (noise) to 0 (clean); at FramePack's shift of 7, t 0.54 is sigma 0.89."
    return {
        "t_start": (
            "FLOAT",
            {
                "default": 1.0,
                "min": 0.0,
                "max": 1.0,
                "step": 0.01,
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
                "tooltip": f"Where the technique ends; lower acts longer. {tooltip}",
            },
        ),
    }


_BLOCKS = (
    "STRING",
    {
        "default": "",
        "tooltip": "Transformer blocks it acts in, such as 'double:0-3; single:0-7,12'; empty means all.",
    },
)


class FramePackAdaptiveCFG(_TechniqueNode):
    DESCRIPTION = (
        "Changes guidance over the steps of a section. Real guidance early, while the picture is composed, is meant to "
        "let a new prompt win over the packed memory."
    )
    TECHNIQUE = AdaptiveCFG

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
                    "tooltip": "interval: base inside the window. high_early: strong first, falling. low_early: weak first, rising (the founding formula). low_early_t: the same over progress.",
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
                    "tooltip": "The scale at its weakest, for high_early and low_early.",
                },
            ),
            "beta": (
                "FLOAT",
                {
                    "default": 0.7,
                    "min": 0.0,
                    "max": 1.0,
                    "step": 0.05,
                    "tooltip": "How far the rising and falling shapes move from base towards minimum; 0 stays at base.",
                },
            ),
            **_window(0.54),
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


class FramePackSemanticKVGate(_TechniqueNode):
    DESCRIPTION = (
        "Lowers the attention that the new section pays to the packed past while a change takes hold, by a bias, by a "
        "cap on the past's share, or by dropping it."
    )
    TECHNIQUE = SemanticKVGate

    @classmethod
    def widgets(cls) -> dict[str, Any]:
        weight = {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.1}
        return {
            "mode": (
                list(MODES),
                {
                    "default": "bias",
                    "tooltip": "bias lowers the past's logits by gamma; cap bounds its share of attention; drop leaves it out.",
                },
            ),
            "gamma": (
                "FLOAT",
                {
                    "default": 2.0,
                    "min": 0.0,
                    "max": 100.0,
                    "step": 0.1,
                    "tooltip": "Strength of mode bias; higher forgets more, 0 is off.",
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
                    "tooltip": "Ignore switches whose change is below this.",
                },
            ),
            **_window(0.54),
            "blocks": _BLOCKS,
        }


class FramePackAttentionScaling(_TechniqueNode):
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
            **_window(0.56),
            "blocks": _BLOCKS,
        }


NODE_CLASS_MAPPINGS = {
    "FramePackAdaptiveCFG": FramePackAdaptiveCFG,
    "FramePackSemanticKVGate": FramePackSemanticKVGate,
    "FramePackAttentionScaling": FramePackAttentionScaling,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "FramePackAdaptiveCFG": "FramePack Adaptive CFG",
    "FramePackSemanticKVGate": "FramePack Semantic KV Gate",
    "FramePackAttentionScaling": "FramePack Attention Scaling",
}
