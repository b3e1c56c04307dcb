"""Technique nodes, one a file."""

from __future__ import annotations

from .attention.attention_scaling import FramePackAttentionScaling
from .attention.kv_gate import FramePackSemanticKVGate
from .attention.rope_jitter import FramePackRopeJitter
from .context.blur import FramePackContextBlur
from .context.low_pass import FramePackLowPassGuidance
from .context.purge import FramePackContextPurge
from .context.refresh import FramePackContextRefresh
from .guidance.adaptive_cfg import FramePackAdaptiveCFG
from .guidance.contrastive import FramePackContrastiveGuidance
from .preset import FramePackTransitionPreset
from .schedule.transition_sigmas import FramePackTransitionSigmas

NODE_CLASS_MAPPINGS = {
    "FramePackAdaptiveCFG": FramePackAdaptiveCFG,
    "FramePackSemanticKVGate": FramePackSemanticKVGate,
    "FramePackTransitionSigmas": FramePackTransitionSigmas,
    "FramePackAttentionScaling": FramePackAttentionScaling,
    "FramePackContextBlur": FramePackContextBlur,
    "FramePackLowPassGuidance": FramePackLowPassGuidance,
    "FramePackContextRefresh": FramePackContextRefresh,
    "FramePackContrastiveGuidance": FramePackContrastiveGuidance,
    "FramePackTransitionPreset": FramePackTransitionPreset,
    "FramePackContextPurge": FramePackContextPurge,
    "FramePackRopeJitter": FramePackRopeJitter,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "FramePackAdaptiveCFG": "FramePack Adaptive CFG",
    "FramePackSemanticKVGate": "FramePack Semantic KV Gate",
    "FramePackTransitionSigmas": "FramePack Transition Sigmas",
    "FramePackAttentionScaling": "FramePack Attention Scaling",
    "FramePackContextBlur": "FramePack Context Blur",
    "FramePackLowPassGuidance": "FramePack Low-Pass Guidance",
    "FramePackContextRefresh": "FramePack Context Refresh",
    "FramePackContrastiveGuidance": "FramePack Contrastive Guidance",
    "FramePackTransitionPreset": "FramePack Transition Preset",
    "FramePackContextPurge": "FramePack Context Purge",
    "FramePackRopeJitter": "FramePack RoPE Jitter",
}
