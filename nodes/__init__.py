"""ComfyUI nodes: they parse, call samplers and models, and return.

Every subpackage lists its node classes in `NODES`. The name of a class is the node's id in saved workflows: it never
changes.
"""

from __future__ import annotations

from . import evaluation, loading, sampling, techniques, timeline, training, video
from .types import Node

NODES: tuple[type[Node], ...] = (
    *loading.NODES,
    *timeline.NODES,
    *sampling.NODES,
    *techniques.NODES,
    *video.NODES,
    *evaluation.NODES,
    *training.NODES,
)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.__name__: node.DISPLAY_NAME for node in NODES}
