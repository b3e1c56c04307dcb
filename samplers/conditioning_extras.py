"""What other nodes put on a CONDITIONING beside its text: read, harmless, or refused by name.

Everything here raises ValueError with one sentence: what came, what was expected, what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor

# What a CONDITIONING may carry beside its text. None: the sampler or the host reads it; otherwise the values that change
# nothing. Everything else is refused, because a section of video would silently be made without it.
_READ: dict[str, tuple[Any, ...] | None] = {
    "pooled_output": None,
    "attention_mask": None,
    "guidance": None,
    "hooks": None,
    "strength": (None, 1.0),
    "start_percent": (None, 0.0),
    "end_percent": (None, 1.0),
    "clip_start_percent": (None, 0.0),
    "clip_end_percent": (None, 1.0),
    "prompt_type": (None, "positive", "negative"),
}
# What users know these by.
_SETTERS = {
    "area": "a regional prompt",
    "mask": "a regional prompt",
    "control": "a ControlNet",
    "gligen": "GLIGEN",
    "start_percent": "a step range",
    "end_percent": "a step range",
    "reference_latents": "ReferenceLatent",
    "unclip_conditioning": "unCLIPConditioning",
    "concat_latent_image": "an image-to-video or inpainting node for another model",
    "ref_latent": "HunyuanImageToVideo",
    "guiding_frame_index": "HunyuanImageToVideo",
    "clip_vision_output": "an image-to-video node for another model",
}


def expect_followable(options: Mapping[str, Any], name: str) -> None:
    """Raises ValueError for what a section of video cannot honour."""
    for key, value in options.items():
        harmless = _READ.get(key, (None,))
        if harmless is None or (not isinstance(value, Tensor) and value in harmless):
            continue
        setter = f" ({_SETTERS[key]})" if key in _SETTERS else ""
        raise ValueError(
            f"{name} carries {key}{setter}, which FramePack cannot follow; remove the node that set it, and give images to "
            "the sampler's own inputs."
        )


def guidance_of(options: dict[str, Any], name: str) -> float | None:
    """The distilled guidance that FluxGuidance put on a CONDITIONING, taken out of it. Raises ValueError for no scale."""
    value = options.pop("guidance", None)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise ValueError(f"{name} carries guidance {value}; give FluxGuidance a finite value of at least 0.")
    return float(value)


def whole_mask(mask: Tensor, states: Tensor, name: str) -> Tensor:
    """A mask that covers the states: one of all ones is stretched over text that ConditioningConcat put behind."""
    missing = states.shape[0] * states.shape[1] - mask.numel()
    if missing > 0 and mask.all() and states.shape[0] == mask.shape[0]:
        return torch.ones(states.shape[:2], dtype=torch.bool)
    if missing:
        raise ValueError(
            f"{name} has an attention mask of {tuple(mask.shape)} for text of {tuple(states.shape[:2])}, as after "
            "ConditioningConcat; write both texts into one prompt."
        )
    return mask.reshape(mask.shape[0], -1).bool()
