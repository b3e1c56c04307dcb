"""Presets: sets of techniques that work together at a change, and the published and founding settings."""

from __future__ import annotations

from dataclasses import replace

from .attention.attention_scaling import PUBLISHED_BLOCKS, AttentionScaling
from .attention.kv_gate import SemanticKVGate
from .base import Technique
from .context.blur import ContextBlur
from .context.refresh import ContextRefresh
from .guidance.adaptive_cfg import AdaptiveCFG
from .guidance.contrastive import ContrastiveGuidance
from .schedule.transition_sigmas import TransitionSigmas

# Chosen by TransitionBench on the embedded model (docs/TECHNIQUES.md), from the least to the most forgetful.
PRESETS: dict[str, tuple[Technique, ...]] = {
    "mild": (ContrastiveGuidance(omega=1.0),),
    "clean": (ContrastiveGuidance(omega=1.0, past="none", t_end=0.75),),
    "balanced": (AdaptiveCFG(base=4.0), SemanticKVGate(gamma=1.0)),
    "strong": (AdaptiveCFG(base=4.0), SemanticKVGate(gamma=1.5)),
    "cut": (
        AdaptiveCFG(base=4.0),
        SemanticKVGate(gamma=4.0),
        ContextRefresh(strength=0.9, sees="none", anchor="replaced", history="emptied"),
    ),
    # Founding: formulas and values as the two documents recommend them that the project began with (docs/GLOSSARY.md). They
    # name no rate of decay: 0.1, as alpha, leaves 0.86 of the values of 2x and 0.15 of those of the start frame.
    "founding": (
        AdaptiveCFG(target="distilled", shape="low_early", base=10.0, minimum=1.0, beta=0.7, t_end=0.0),
        ContextBlur(mode="founding", decay=0.1),
        SemanticKVGate(mode="founding", gamma=2.0, threshold=0.3, t_end=0.0),
        TransitionSigmas(mode="founding", delta=0.85),
    ),
    # AlignVid (arXiv 2512.01334) as published for the two 13B models; it acts in every section.
    "alignvid_f1": (AttentionScaling(apply_to="all", blocks=PUBLISHED_BLOCKS["f1"]),),
    "alignvid_original": (AttentionScaling(apply_to="all", blocks=PUBLISHED_BLOCKS["original"]),),
}


def preset_techniques(name: str, sections: int = 0, section_decay: float = 1.0) -> tuple[Technique, ...]:
    """The techniques of a preset in wired order, fading by `section_decay` from section to section.

    `sections` above 0 replaces how many sections after a switch they act in.

    Raises ValueError for a name that is none of PRESETS.
    """
    if name not in PRESETS:
        raise ValueError(f"preset is {name!r}; choose one of {', '.join(PRESETS)}.")
    if sections < 0:
        raise ValueError(f"sections is {sections}; give 0 (the preset's own) or more.")
    return tuple(
        replace(technique, sections=sections or technique.sections, section_decay=section_decay)
        for technique in PRESETS[name]
    )
