"""FramePack Model Loader: a node that loads a FramePack transformer from ComfyUI's model folders."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...models.files.loading import inspect_checkpoint, load_dit
from ...models.files.variants import LAYOUT_KEY, trained_layout
from ...samplers.store.models import WEIGHT_FILES, files_digest
from ..comfyui import inside_comfyui
from ..types import ROOT

# The choices of the widget; None keeps the file's own type.
WEIGHT_DTYPES: dict[str, torch.dtype | None] = {
    "default": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e4m3fn_fast": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


class FramePackModelLoader:
    DISPLAY_NAME = "FramePack Model Loader"
    SEARCH_ALIASES = (
        "hunyuan",
        "hunyuan video",
        "framepack model",
        "load framepack",
        "f1",
        "i2v",
        "image to video",
    )
    DESCRIPTION = (
        "Loads a FramePack transformer (original or F1) from models/diffusion_models: one safetensors file, or "
        "any one of the shards of a diffusers folder, or a GGUF file. Quantised files (scaled fp8, int8, nvfp4, GGUF) stay "
        "as they are and are unpacked layer by layer."
    )
    CATEGORY = f"{ROOT}/Loaders"
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL",)
    OUTPUT_TOOLTIPS = ("A model for FramePack Sampler; technique and LoRA nodes go in between.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model_name": (
                    _diffusion_models(),
                    {
                        "tooltip": "A FramePack file in models/diffusion_models. F1 files need layout f1 in the sampler, FramePackI2V files layout original."
                    },
                ),
                "weight_dtype": (
                    list(WEIGHT_DTYPES),
                    {
                        "default": "default",
                        "tooltip": "How weights are stored. default keeps the file's where your GPU allows it; fp8 halves the memory at some loss of detail; _fast also multiplies in fp8 on GPUs that can. Quantised files take default only.",
                    },
                ),
            }
        }

    def load(self, model_name: str, weight_dtype: str) -> tuple[Any]:
        if not inside_comfyui():
            raise ValueError(
                "FramePack Model Loader reads ComfyUI's model folders and needs ComfyUI; use FramePack Tiny "
                "Loader here, or queue the workflow to a running ComfyUI with --server."
            )
        from ...models.host import make_model

        path = _path(model_name)
        summary = inspect_checkpoint(path)
        if summary.packings and weight_dtype != "default":
            raise ValueError(
                f"{model_name} is quantised ({', '.join(sorted(summary.packings))}) and stays as it is stored; "
                f"weight_dtype is {weight_dtype}, set it to default."
            )
        model = make_model(
            partial(load_dit, path),
            parameters=summary.parameters,
            stored_dtype=summary.dtype,
            dtype=WEIGHT_DTYPES[weight_dtype],
            fast_fp8=weight_dtype.endswith("_fast"),
            packings=summary.packings,
        )
        model.set_attachments(LAYOUT_KEY, trained_layout(model_name, summary.metadata))
        model.set_attachments(WEIGHT_FILES, files_digest(summary.paths))
        return (model,)


def _diffusion_models() -> list[str]:
    if not inside_comfyui():
        return []
    import folder_paths

    names: list[str] = folder_paths.get_filename_list("diffusion_models")
    return sorted({*names, *_gguf_files()})


def _gguf_files() -> dict[str, Path]:
    """The GGUF files in the folders of diffusion models, which the host does not list, by their name there."""
    import folder_paths

    folders = [Path(folder) for folder in folder_paths.get_folder_paths("diffusion_models")]
    return {
        str(path.relative_to(folder)): path
        for folder in reversed(folders)
        for path in folder.rglob("*")
        if path.suffix.lower() == ".gguf"
    }


def _path(name: str) -> Path:
    import folder_paths

    return _gguf_files().get(name) or Path(folder_paths.get_full_path_or_raise("diffusion_models", name))
