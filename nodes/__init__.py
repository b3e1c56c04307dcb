"""ComfyUI nodes: they parse, call samplers and models, and return."""

from __future__ import annotations

from . import techniques, timeline, video
from .evaluation import compare, disappearance, transition
from .loading import loaders, lora
from .sampling import one_frame, preview
from .sampling import sampler as sampling

_MODULES = (
    loaders,
    lora,
    timeline,
    sampling,
    one_frame,
    techniques,
    preview,
    video,
    transition,
    disappearance,
    compare,
)

NODE_CLASS_MAPPINGS = {name: node for module in _MODULES for name, node in module.NODE_CLASS_MAPPINGS.items()}
NODE_DISPLAY_NAME_MAPPINGS = {
    name: title for module in _MODULES for name, title in module.NODE_DISPLAY_NAME_MAPPINGS.items()
}
