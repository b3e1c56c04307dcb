"""Nodes that measure how a video follows its prompts."""

from __future__ import annotations

from .compare import FramePackCompare
from .disappearance import FramePackDisappearanceEvaluator
from .transition import FramePackTransitionEvaluator

NODES = (
    FramePackTransitionEvaluator,
    FramePackDisappearanceEvaluator,
    FramePackCompare,
)
