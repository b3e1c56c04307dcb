"""Nodes that sample, and the one that shows beforehand what sampling would do."""

from __future__ import annotations

from .one_frame import FramePackOneFrameSampler
from .preview import FramePackTechniquePreview
from .sampler import FramePackTransitionsSampler

NODES = (
    FramePackTransitionsSampler,
    FramePackOneFrameSampler,
    FramePackTechniquePreview,
)
