"""The only place that builds ComfyUI objects: a BaseModel around FramePackDiT, and its ModelPatcher.

Imported only inside ComfyUI.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from functools import partial
from math import prod
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.lora
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.supported_models_base
import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from .attention.joint import AttentionFunction, Segments, sdpa_attention
from .dit import FramePackDiT
from .files.lora import Change, rounds
from .foreign import TransformerSettings, naming_misfits
from .host_quantised import QuantisedPatcher, host_takes
from .host_rotation import host_rotation

# Latent pixels that one element of a condition's [2:] (or [1:] for tokens) stands for; a token is a 2x2 patch.
_AREA = {"clean_latents": 1.0, "clean_latents_2x": 1 / 8, "clean_latents_4x": 1 / 64}
_TOKEN_AREA = {"image_embeds": 4.0, "c_crossattn": 4.0}

# The entry of transformer_options in which other nodes replace the attention.
OVERRIDE = "optimized_attention_override"

BuildDiT = Callable[..., FramePackDiT]

# The packed past and guidance of the step that is being sampled, for nodes that encode a conditioning of their own in it.
STEP_CONTEXT: ContextVar[dict[str, Tensor] | None] = ContextVar("STEP_CONTEXT", default=None)


class FramePackModelConfig(comfy.supported_models_base.BASE):  # type: ignore[misc]  # the host has no types
    """What ComfyUI wants to know of a model family."""

    unet_extra_config: dict[str, Any] = {}
    sampling_settings = {"shift": 7.0}
    latent_format = comfy.latent_formats.HunyuanVideo
    memory_usage_factor = 1.8
    supported_inference_dtypes = [torch.bfloat16, torch.float32]


class FramePackBaseModel(comfy.model_base.HunyuanVideo):  # type: ignore[misc]  # the host has no types
    """HunyuanVideo as ComfyUI knows it (so that LoRA keys and conditionings are those), with FramePack's transformer."""

    def __init__(
        self, model_config: FramePackModelConfig, build: BuildDiT, device: torch.device | None = None
    ) -> None:
        super(comfy.model_base.HunyuanVideo, self).__init__(
            model_config, comfy.model_base.ModelType.FLOW, device=device, unet_model=build
        )
        self.diffusion_model.around = run_wrappers
        self.diffusion_model.text_attention = host_text_attention
        self.diffusion_model.rotation = host_rotation()

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        context = kwargs.get("framepack_context", STEP_CONTEXT.get())
        if context is None:
            raise RuntimeError(
                "a FramePack MODEL was sampled by another node, which would run it without its history; "
                "use the FramePack Sampler node instead of KSampler, SamplerCustom or a guider."
            )
        return {**super().extra_conds(**kwargs), **context_conds(context)}

    def extra_conds_shapes(self, **kwargs: Any) -> dict[str, Any]:
        shapes = {name: list(value.shape) for name, value in kwargs.get("framepack_context", {}).items()}
        if "cross_attn" in kwargs:
            shapes["c_crossattn"] = list(kwargs["cross_attn"].shape)
        return shapes

    def memory_required(
        self, input_shape: list[int], cond_shapes: dict[str, list[list[int]]] | None = None, **kwargs: Any
    ) -> float:
        """The host's estimate for the window plus the packed context, counted in latent pixels."""
        cond_shapes = cond_shapes or {}
        area: float = input_shape[0] * prod(input_shape[2:])
        for name, factor in _AREA.items():
            area += sum(factor * shape[0] * prod(shape[2:]) for shape in cond_shapes.get(name, []))
        for name, factor in _TOKEN_AREA.items():
            area += sum(factor * shape[0] * shape[1] for shape in cond_shapes.get(name, []))
        required: float = super().memory_required([1, input_shape[1], round(area)], **kwargs)
        return required


def context_conds(arguments: dict[str, Tensor]) -> dict[str, comfy.conds.CONDRegular]:
    """The DiT's extra arguments in the form in which ComfyUI carries conditions."""
    return {name: comfy.conds.CONDRegular(value) for name, value in arguments.items()}


def run_wrappers(
    dit: FramePackDiT,
    forward: Callable[..., Tensor],
    x: Tensor,
    timestep: Tensor,
    *,
    context: Tensor,
    transformer_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Tensor:
    """A forward inside the DIFFUSION_MODEL wrappers of other nodes, as core models run theirs; a signal's goes without.

    A wrapper gets x, timestep and context first and transformer_options last. x is a tensor of its own, because step
    caches add to it in place.
    """
    transformer_options = transformer_options or {}
    wrappers = comfy.patcher_extension.get_all_wrappers(
        comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options
    )
    if not wrappers or "framepack_signal" in transformer_options:
        return forward(x, timestep, context, transformer_options=transformer_options, **kwargs)

    def innermost(x: Tensor, timestep: Tensor, context: Tensor, options: Any, **kwargs: Any) -> Tensor:
        return forward(x, timestep, context, transformer_options=options, **kwargs)

    executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(innermost, dit, wrappers)
    with naming_misfits(wrappers):
        output: Tensor = executor.execute(x.clone(), timestep, context, transformer_options, **kwargs)
    return output


def host_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None,
    segments: Segments,
    block: tuple[str, int],
    transformer_options: dict[str, Any],
) -> Tensor:
    """The host's attention back end, or what another node has put in its place.

    Some back ends silently ignore a mask. So where texts are padded, PyTorch's attention takes the mask, and an override
    gets each row of the batch by itself, without its padding.
    """
    attend = partial(_optimized, transformer_options=transformer_options)
    if mask is None:
        return attend(q, k, v)
    if OVERRIDE not in transformer_options:
        return sdpa_attention(q, k, v, mask=mask)
    rows = zip(*(torch.split(part, 1) for part in (q, k, v)), mask[:, 0, 0])
    return torch.cat([attend(row, keys[:, :, kept], values[:, :, kept]) for row, keys, values, kept in rows])


def host_text_attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, transformer_options: dict[str, Any]
) -> Tensor:
    """PyTorch's attention of the few tokens of texts to each other, or what another node has put in its place.

    Of texts that are padded an override gets each by itself, without its padding, which is attended to as ever.
    """
    if OVERRIDE not in transformer_options:
        return sdpa_attention(q, k, v, mask=mask)
    attend = partial(_optimized, transformer_options=transformer_options)
    if mask is None:
        return attend(q, k, v)
    attended = sdpa_attention(q, k, v, mask=mask)
    for text, pairs in enumerate(mask[:, 0]):
        kept = pairs.any(dim=0)
        real = (pairs == kept).all(dim=1)
        row = slice(text, text + 1)
        attended[row, real] = attend(q[row, :, real], k[row, :, kept], v[row, :, kept])
    return attended


def _optimized(q: Tensor, k: Tensor, v: Tensor, *, transformer_options: dict[str, Any]) -> Tensor:
    """The host's attention of q [B, H, Lq, D] to all of k and v [B, H, Lk, D] -> [B, Lq, H * D].

    What is given by position is what core models give so: overrides may count on it.
    """
    attended: Tensor = optimized_attention(
        q, k, v, q.shape[1], skip_reshape=True, transformer_options=transformer_options
    )
    return attended


def make_model(build: BuildDiT, **how: Any) -> Any:
    """A ModelPatcher whose DiT comes from `build(dtype=, device=, operations=, attention=)`; see load_patcher for `how`.

    Newer hosts make another MODEL of the same weights where they compile one, change weights in the middle of a run, or
    use several GPUs; they do so by what is in its cached_patcher_init.
    """
    load = partial(load_patcher, build, **how)
    model = load()
    model.cached_patcher_init = (load, ())
    return model


def load_patcher(
    build: BuildDiT,
    *,
    parameters: int,
    stored_dtype: torch.dtype,
    dtype: torch.dtype | None = None,
    fast_fp8: bool = False,
    packings: Collection[str] = (),
    format: type = comfy.latent_formats.HunyuanVideo,
    disable_dynamic: bool = False,
) -> Any:
    """A new ModelPatcher around a DiT that is built for it.

    The host chooses storage and compute dtype from `parameters` and `stored_dtype` unless `dtype` says it. `packings`
    says how weights are quantised: then `build` is also told with mixed_precision whether the host's layers take them.
    `disable_dynamic` keeps the host from streaming weights (DynamicVRAM).
    """
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    supported = FramePackModelConfig.supported_inference_dtypes
    dtype = dtype or comfy.model_management.unet_dtype(
        model_params=parameters, supported_dtypes=supported, weight_dtype=stored_dtype
    )
    config = FramePackModelConfig({})
    config.unet_config = TransformerSettings(config.unet_config)
    config.latent_format = format()
    config.set_inference_dtype(dtype, _compute_dtype(dtype, load_device))
    config.optimizations["fp8"] = fast_fp8
    build = partial(build, attention=host_attention)
    patcher = _host_patcher(disable_dynamic)
    if not packings:
        model = FramePackBaseModel(config, build, device=offload_device).to(offload_device)
    elif host_takes(packings):
        config.quant_config = {"mixed_ops": True}
        # Its layers ask for the dtype to compute in.
        config.manual_cast_dtype = config.manual_cast_dtype or config.unet_config["dtype"]
        model = FramePackBaseModel(config, partial(build, mixed_precision=True), device=offload_device)
    else:
        model, patcher = FramePackBaseModel(config, build, device=offload_device), QuantisedPatcher
    return patcher(model, load_device=load_device, offload_device=offload_device)


def _host_patcher(disable_dynamic: bool) -> Any:
    """The class of the host's own MODELs: hosts of 2026 choose one that streams weights (DynamicVRAM) where they can."""
    plain = comfy.model_patcher.ModelPatcher
    return plain if disable_dynamic else getattr(comfy.model_patcher, "CoreModelPatcher", plain)


def add_lora(model: Any, changes: list[Change], strength: float) -> None:
    """Registers the changes with a ModelPatcher, which puts them on when it loads the model and takes them off again."""
    for changed in rounds(changes):
        tensors = {key: value for change in changed.values() for key, value in change.host_tensors().items()}
        keys = {module: f"diffusion_model.{module}.weight" for module in changed}
        patches = comfy.lora.load_lora(tensors, keys, log_missing=False)
        added = {key.rpartition(".")[0] for key in model.add_patches(patches, strength)}
        lacking = [module for module in changed if f"diffusion_model.{module}" not in added]
        if lacking:
            raise RuntimeError(
                f"ComfyUI took no patch for {', '.join(lacking[:3])}; its LoRA interface has changed."
            )


def _compute_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype | None:
    """What weights stored as `dtype` are cast to at use, None for as they are. float16 overflows in this model."""
    if dtype == torch.float16:
        return torch.bfloat16 if comfy.model_management.should_use_bf16(device) else torch.float32
    cast_dtype: torch.dtype | None = comfy.model_management.unet_manual_cast(
        dtype, device, FramePackModelConfig.supported_inference_dtypes
    )
    return cast_dtype


def copy_dit(
    source: FramePackDiT,
    *,
    dtype: torch.dtype,
    device: torch.device,
    operations: Any,
    attention: AttentionFunction,
) -> FramePackDiT:
    """The same transformer with the host's layers and attention."""
    dit = type(source)(source.config, dtype=dtype, device=device, operations=operations, attention=attention)
    dit.load_state_dict(source.state_dict())
    return dit.eval().requires_grad_(False)


def latent_format(scale: float, rgb_factors: list[list[float]] | None, rgb_bias: list[float] | None) -> type:
    """A latent format with its own scale, and preview colours where they are known."""
    return type(
        "FramePackLatentFormat",
        (comfy.latent_formats.LatentFormat,),
        {
            "latent_channels": 16,
            "latent_dimensions": 3,
            "scale_factor": scale,
            "latent_rgb_factors": rgb_factors,
            "latent_rgb_factors_bias": rgb_bias,
        },
    )
