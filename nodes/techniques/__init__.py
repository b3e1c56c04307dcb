"""Technique nodes, one a file."""

from __future__ import annotations

from .adaptive_cfg import FramePackAdaptiveCFG
from .attention_scaling import FramePackAttentionScaling
from .kv_gate import FramePackSemanticKVGate

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
