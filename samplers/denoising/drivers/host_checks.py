"""What other nodes may have put on a MODEL that FramePack cannot use; each is refused by name instead of being ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Patches that blocks of other architectures call, with a node that sets each.
PATCH_NODES = {
    "attn1_patch": "HyperTile, Token Merging",
    "attn1_output_patch": "Normalized Attention Guidance, UNetSelfAttentionMultiply",
    "attn2_patch": "Hypernetwork Loader",
    "attn2_output_patch": "UNetCrossAttentionMultiply",
    "input_block_patch": "PatchModelAddDownscale",
    "output_block_patch": "FreeU",
    "double_block": "a ControlNet patch for another model",
    "single_block": "a ControlNet patch for another model",
}


def expect_usable(model: Any) -> None:
    """Raises ValueError for a MODEL whose sampling was replaced, or with patches that FramePack's blocks do not call."""
    sampling = model.object_patches.get("model_sampling")
    if sampling is not None:
        shift = getattr(sampling, "shift", None)
        seen = f"; its shift is {shift:g}" if isinstance(shift, (int, float)) else ""
        raise ValueError(
            "another node replaced the model's sampling (ModelSamplingSD3, ModelSamplingFlux or the like"
            f"{seen}); remove it and set shift in the sampler, which decides the noise levels of every section."
        )
    options = model.model_options.get("transformer_options", {})
    replaced = options.get("patches_replace", {})
    names = [name for name, patches in options.get("patches", {}).items() if patches]
    names += [name for name, patches in replaced.items() if patches and name != "dit"]
    for name in names:
        nodes = f" ({PATCH_NODES[name]})" if name in PATCH_NODES else ""
        raise ValueError(
            f"model carries {name} patches{nodes}, which FramePack's blocks do not call; remove the node that sets them."
        )


def expect_whole_window(model: Any, shape: Sequence[int]) -> None:
    """Raises ValueError where Context Windows would cut a section's latents of `shape` [B, 16, T, H, W]."""
    handler = model.model_options.get("context_handler")
    if handler is None:
        return
    axis, length = getattr(handler, "dim", 2), getattr(handler, "context_length", 0)
    if length < shape[axis]:
        raise ValueError(
            f"Context Windows would cut a section of {shape[axis]} latent frames into windows of {length}, but a section "
            "has one packed past; remove the node and set window in the sampler."
        )
