"""Every technique, listed once; tests/unit/test_technique_registry.py says what else a new one needs, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .attention.attention_scaling import AttentionScaling
from .attention.dual_memory import DualMemory
from .attention.kv_gate import SemanticKVGate
from .attention.rope_jitter import RopeJitter
from .base import Technique
from .context.blur import ContextBlur
from .context.low_pass import LowPassGuidance
from .context.purge import ContextPurge
from .context.refresh import ContextRefresh
from .guidance.adaptive_cfg import AdaptiveCFG
from .guidance.contrastive import ContrastiveGuidance
from .schedule.step_cache import StepCache
from .schedule.transition_sigmas import TransitionSigmas


@dataclass(frozen=True, kw_only=True)
class TechniqueEntry:
    """A technique of the pack.

    name: what benchmarks call it.
    title: what its node and the documents call it.
    example: the technique with settings at which it does something; its defaults, unless these switch it off.
    off: the settings at which it changes nothing.
    """

    name: str
    title: str
    example: Technique
    off: Mapping[str, Any]

    @property
    def technique(self) -> type[Technique]:
        """The technique's class."""
        return type(self.example)


# In the order in which benchmarks compare them.
TECHNIQUES = (
    TechniqueEntry(
        name="adaptive_cfg", title="Adaptive CFG", example=AdaptiveCFG(), off={"base": 0.0, "beta": 0.0}
    ),
    TechniqueEntry(
        name="contrastive",
        title="Contrastive Guidance",
        example=ContrastiveGuidance(),
        off={"omega": 0.0, "history": 1.0, "refusal": 0.0},
    ),
    TechniqueEntry(
        name="kv_gate",
        title="Semantic KV Gate",
        example=SemanticKVGate(),
        off={"mode": "bias", "gamma": 0.0},
    ),
    TechniqueEntry(
        name="context_blur",
        title="Context Blur",
        example=ContextBlur(),
        off={"strength": 0.0, "decay": 0.0},
    ),
    TechniqueEntry(
        name="low_pass",
        title="Low-Pass Guidance",
        example=LowPassGuidance(),
        off={"filter": "resize", "factor": 1.0},
    ),
    TechniqueEntry(
        name="context_purge",
        title="Context Purge",
        example=ContextPurge(),
        off={**dict.fromkeys(("start", "last", "history_2x", "history_4x", "image"), "keep"), "gap": 0},
    ),
    TechniqueEntry(
        name="context_refresh", title="Context Refresh", example=ContextRefresh(), off={"strength": 0.0}
    ),
    TechniqueEntry(
        name="transition_sigmas",
        title="Transition Sigmas",
        example=TransitionSigmas(),
        off={"shift": 0.0, "early": 1.0, "extra_steps": 0},
    ),
    TechniqueEntry(
        name="rope_jitter", title="RoPE Jitter", example=RopeJitter(sigma=0.1), off={"sigma": 0.0}
    ),
    TechniqueEntry(
        name="attention_scaling", title="Attention Scaling", example=AttentionScaling(), off={"scale": 1.0}
    ),
    TechniqueEntry(
        name="dual_memory",
        title="Dual Memory",
        example=DualMemory(tokens="moving"),
        off={"content": 0.0, "scene": 0.0},
    ),
    TechniqueEntry(name="step_cache", title="Step Cache", example=StepCache(), off={"threshold": 0.0}),
)
