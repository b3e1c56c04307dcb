"""Ranges and defaults of the widgets that several nodes share, and which widgets ComfyUI may fold away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..samplers.context.plan import MAX_WINDOW

NodeClass = TypeVar("NodeClass", bound=type[Any])

MAX_BLEND = 32  # sections
SECONDS = {"default": 5.0, "min": 0.1, "max": 600.0, "step": 0.1}
WINDOW = {"default": 9, "min": 1, "max": MAX_WINDOW, "advanced": True}
STEPS = {"default": 25, "min": 1, "max": 1000}
DISTILLED_GUIDANCE = {"default": 10.0, "min": 0.0, "max": 100.0, "step": 0.1}
CFG = {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.1}
GUIDANCE_RESCALE = {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.05, "advanced": True}
SHIFT = {"default": 0.0, "min": 0.0, "max": 100.0, "step": 0.1, "advanced": True}
LATENT_FRAMES = {"default": 0, "min": 0, "max": 6000, "advanced": True}
DENOISE = {"default": 1.0, "min": 0.01, "max": 1.0, "step": 0.01, "advanced": True}
UPSTREAM_ROUNDING = {"default": False, "advanced": True}
SEED = {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}


def advanced_widgets(*names: str) -> Callable[[NodeClass], NodeClass]:
    """Marks these widgets of a node class as advanced: the editor folds them away until the user asks for them.

    Raises KeyError when the class is asked for its inputs and has no widget of that name.
    """

    def mark(node: NodeClass) -> NodeClass:
        declared = node.INPUT_TYPES

        def input_types() -> dict[str, Any]:
            types: dict[str, Any] = declared()
            for name in names:
                inputs = types["required"] if name in types["required"] else types["optional"]
                kind, options = inputs[name]
                inputs[name] = (kind, {**options, "advanced": True})
            return types

        node.INPUT_TYPES = staticmethod(input_types)
        return node

    return mark
