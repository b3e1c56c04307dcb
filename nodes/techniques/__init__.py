"""Technique nodes, one a file."""

from __future__ import annotations

from .attention.attention_scaling import FramePackAttentionScaling
from .attention.dual_memory import FramePackDualMemory
from .attention.kv_gate import FramePackSemanticKVGate
from .attention.rope_jitter import FramePackRopeJitter
from .context.blur import FramePackContextBlur
from .context.low_pass import FramePackLowPassGuidance
from .context.purge import FramePackContextPurge
from .context.refresh import FramePackContextRefresh
from .guidance.adaptive_cfg import FramePackAdaptiveCFG
from .guidance.contrastive import FramePackContrastiveGuidance
from .preset import FramePackTransitionPreset
from .schedule.step_cache import FramePackStepCache
from .schedule.transition_sigmas import FramePackTransitionSigmas

NODES = (
    FramePackAdaptiveCFG,
    FramePackSemanticKVGate,
    FramePackTransitionSigmas,
    FramePackAttentionScaling,
    FramePackContextBlur,
    FramePackLowPassGuidance,
    FramePackContextRefresh,
    FramePackContrastiveGuidance,
    FramePackTransitionPreset,
    FramePackContextPurge,
    FramePackRopeJitter,
    FramePackStepCache,
    FramePackDualMemory,
)
