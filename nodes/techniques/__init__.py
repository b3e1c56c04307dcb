"""Technique nodes, one a file."""

from __future__ import annotations

from .adaptive_cfg import FramePackAdaptiveCFG
from .attention_scaling import FramePackAttentionScaling
from .context_blur import FramePackContextBlur
from .context_purge import FramePackContextPurge
from .contrastive import FramePackContrastiveGuidance
from .kv_gate import FramePackSemanticKVGate
from .low_pass import FramePackLowPassGuidance
from .preset import FramePackTransitionPreset
from .refresh import FramePackContextRefresh
from .rope_jitter import FramePackRopeJitter
from .transition_sigmas import FramePackTransitionSigmas

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
