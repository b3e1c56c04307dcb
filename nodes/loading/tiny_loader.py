"""FramePack Tiny Loader: a node that loads the embedded miniature FramePack."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...models.files.variants import LAYOUT_KEY
from ...models.plain import PlainModel, plain_device
from ...samplers.store.models import WEIGHT_FILES, files_digest
from ...tiny.bundle import DIT_FILES, WEIGHTS, TinyBundle, load_tiny, weight_files
from ..comfyui import inside_comfyui
from ..types import ROOT


class FramePackTinyLoader:
    DISPLAY_NAME = "FramePack Tiny Loader"
    SEARCH_ALIASES = ("framepack demo", "test model", "cpu model", "no download", "tiny hunyuan")
    DESCRIPTION = (
        "The embedded miniature FramePack: model, text encoder, VAE and vision encoder in one node, small enough "
        "for a CPU. It serves to try workflows, not to make pictures: it can show one or two red, yellow, green, "
        "blue, pink or white circles, squares, triangles or stars, small or large, in the sky, desert, forest, sea or city, by "
        "day or at night."
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
        return {
            "required": {},
            "optional": {
                "layout": (
                    list(DIT_FILES),
                    {
                        "tooltip": "Which transformer: f1 generates forward, original backward, from the end to the start. FramePack "
                        "Sampler's layout has to be the same. CLIP, VAE and CLIP_VISION are the same for both."
                    },
                )
            },
        }

    def load(self, layout: str = "f1") -> tuple[Any, Any, Any, Any]:
        bundle = load_tiny(layout=layout)
        return _tiny_model(bundle, layout), bundle.clip, bundle.vae, bundle.clip_vision


def _tiny_model(bundle: TinyBundle, layout: str) -> Any:
    """The transformer as a ComfyUI MODEL, or as its stand-in outside ComfyUI."""
    if not inside_comfyui():
        plain = PlainModel(bundle.dit.to(plain_device()), bundle.latent_scale)
        plain.attachments[LAYOUT_KEY] = layout
        return plain
    from ...models.host import copy_dit, latent_format, make_model

    parameters = sum(parameter.numel() for parameter in bundle.dit.parameters())
    model = make_model(
        partial(copy_dit, bundle.dit),
        parameters=parameters,
        stored_dtype=bundle.dit.dtype,
        format=latent_format(bundle.latent_scale, bundle.rgb_factors, bundle.rgb_bias),
    )
    model.set_attachments(LAYOUT_KEY, layout)
    if bundle.trained:
        model.set_attachments(WEIGHT_FILES, files_digest([weight_files(WEIGHTS, layout)["dit"]]))
    return model
