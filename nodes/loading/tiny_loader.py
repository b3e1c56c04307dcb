"""FramePack Tiny Loader: a node that loads the embedded miniature FramePack."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...models.plain import PlainModel, plain_device
from ...samplers.store.models import WEIGHT_FILES, files_digest
from ...tiny.bundle import WEIGHTS, TinyBundle, load_tiny
from ..comfyui import inside_comfyui
from ..types import ROOT


class FramePackTinyLoader:
    DISPLAY_NAME = "FramePack Tiny Loader"
    SEARCH_ALIASES = ("framepack demo", "test model", "cpu model", "no download", "tiny hunyuan")
    DESCRIPTION = (
        "The embedded miniature FramePack: model, text encoder, VAE and vision encoder in one node, small enough "
        "for a CPU. It serves to try workflows, not to make pictures: it can show a red, yellow, green, blue, pink or "
        "white circle, square, triangle or star, small or large, in the sky, desert, forest, sea or city, by day or at "
        "night."
    )
    CATEGORY = f"{ROOT}/Loaders"
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "CLIP_VISION")
    OUTPUT_TOOLTIPS = (
        "The miniature transformer, for FramePack Sampler.",
        "Its text encoder, for CLIP Text Encode.",
        "Its video VAE, for VAE Encode, FramePack Sampler and FramePack Decode.",
        "Its vision encoder, for CLIP Vision Encode.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def load(self) -> tuple[Any, Any, Any, Any]:
        bundle = load_tiny()
        return _tiny_model(bundle), bundle.clip, bundle.vae, bundle.clip_vision


def _tiny_model(bundle: TinyBundle) -> Any:
    """The transformer as a ComfyUI MODEL, or as its stand-in outside ComfyUI."""
    if not inside_comfyui():
        return PlainModel(bundle.dit.to(plain_device()), bundle.latent_scale)
    from ...models.host import copy_dit, latent_format, make_model

    parameters = sum(parameter.numel() for parameter in bundle.dit.parameters())
    model = make_model(
        partial(copy_dit, bundle.dit),
        parameters=parameters,
        stored_dtype=bundle.dit.dtype,
        format=latent_format(bundle.latent_scale, bundle.rgb_factors, bundle.rgb_bias),
    )
    if bundle.trained:
        model.set_attachments(WEIGHT_FILES, files_digest([WEIGHTS / "dit.safetensors"]))
    return model
