"""What other nodes may have put on a MODEL that FramePack cannot use; each is refused by name, or named where it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ....models.foreign import node_of
from ...techniques.base import Technique
from ...techniques.wiring import techniques_of
from ..caching.run import active_step_cache

# Core nodes whose function is named otherwise than they are.
NODE_NAMES = {
    "KV_Attn_Input": "FluxKVCache",
    "load_hypernetwork_patch": "HypernetworkLoader",
    "model_sampling": "ModelNoiseScale or the like",
    "DiffSynthCnetPatch": "QwenImageDiffsynthControlnet",
    "UsoStyleProjectorPatch": "USOStyleReference",
}
# Entries of transformer_options that only other architectures read, with the node that sets each.
OPTIONS_OF_OTHERS = {
    "animate2_cache": "WanAnimate2Cache",
    "ar_config": "ARVideoI2V",
    "rope_options": "ScaleROPE",
}
# Nodes whose functions change a part that FramePack does not have: the result is the same. Those that guide also take
# another evaluation in every step.
IDLE_NODES = {
    "ChromaRadianceOptions": "only Chroma Radiance reads what it sets",
    "DifferentialDiffusion": "it weakens a noise mask, which FramePack does not take",
    "LTXVModalityGuidance": "there is no sound to separate, and every step takes longer",
    "LTXVSpatioTemporalGuidance": "there are no blocks of LTXV to perturb, and every step takes longer; take SkipLayerGuidanceDiT",
    "PerturbedAttentionGuidance": "there is no UNet block to perturb, and every step takes longer; take SkipLayerGuidanceDiT",
}
# Where other nodes hook into guidance, in model_options.
GUIDANCE_FUNCTIONS = ("sampler_pre_cfg_function", "sampler_cfg_function", "sampler_post_cfg_function")
REPLACED_EVALUATION = "sampler_calc_cond_batch_function"


def expect_usable(model: Any) -> None:
    """Raises ValueError for a MODEL whose sampling was replaced, or with patches or options that no block of FramePack reads."""
    sampling = model.object_patches.get("model_sampling")
    if sampling is not None:
        raise ValueError(
            f"another node replaced the model's sampling ({_sampling_node(sampling)}); remove it and set shift in the "
            "sampler, which decides the noise levels of every section."
        )
    options = model.model_options.get("transformer_options", {})
    if "easycache" in options and active_step_cache(techniques_of(model.model_options)):
        name = getattr(options["easycache"], "name", "EasyCache")
        raise ValueError(f"{name} and FramePack Step Cache are both on the model; remove one of them.")
    for name, codes in _patches(options):
        nodes = ", ".join(dict.fromkeys(map(named, codes)))
        raise ValueError(
            f"model carries {name} patches ({nodes}), which FramePack's blocks do not call; remove the node that sets them."
        )
    for name in OPTIONS_OF_OTHERS.keys() & options.keys():
        raise ValueError(
            f"model carries {name} ({OPTIONS_OF_OTHERS[name]}), which FramePack's blocks do not read; remove the node that "
            "sets it."
        )


def idle_nodes(model: Any) -> list[str]:
    """A sentence for each core node before the sampler that changes nothing on FramePack."""
    options = model.model_options
    others = [
        options[name] for name in ("model_function_wrapper", "denoise_mask_function") if name in options
    ]
    found = dict.fromkeys(map(node_of, [*guidance_functions(options), *others]))
    return [
        f"{node} changes nothing on FramePack: {IDLE_NODES[node]}." for node in found if node in IDLE_NODES
    ]


def overridden_attention(model: Any, techniques: Sequence[Technique]) -> list[str]:
    """A sentence where another node replaced the attention, and techniques attend by functions of their own."""
    override = model.model_options["transformer_options"].get("optimized_attention_override")
    own = [type(each).__name__ for each in techniques if type(each).attention is not Technique.attention]
    if override is None or not own:
        return []
    return [
        f"{named(override)} replaced the attention; tokens that {', '.join(dict.fromkeys(own))} gates are attended without it."
    ]


def named(code: Any) -> str:
    """The node that a patch comes from, as users know it."""
    node = node_of(code)
    return NODE_NAMES.get(node, node)


def _sampling_node(sampling: Any) -> str:
    """The node that made a model's sampling, and its shift where it has one."""
    node = named(type(sampling))
    shift = getattr(sampling, "shift", None)
    return f"{node}; its shift is {shift:g}" if isinstance(shift, (int, float)) else node


def _patches(options: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """The name and the code of all patches that FramePack's blocks do not call."""
    for name, codes in options.get("patches", {}).items():
        if codes:
            yield name, list(codes)
    for name, codes in options.get("patches_replace", {}).items():
        if codes and name != "dit":
            yield name, list(codes.values())


def guidance_functions(model_options: Mapping[str, Any]) -> list[Any]:
    """The functions of other nodes that combine predictions or change the combined one."""
    found = [model_options.get(name, []) for name in GUIDANCE_FUNCTIONS]
    return [each for one in found for each in (one if isinstance(one, list) else [one])]


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
