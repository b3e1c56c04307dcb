"""FramePack LoRA Loader: a node that adds a LoRA to a FramePack model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ...models.attention.blocks import block_set, check_blocks
from ...models.config import FramePackConfig
from ...models.files.lora import Change, convert, parameter_shapes
from ...models.files.lora_file import read_lora_file
from ...models.files.one_frame import ATTACHMENT, one_frame_training
from ...models.plain import PlainModel, add_lora
from ...samplers.context.one_frame import FROM_LORA
from ..comfyui import inside_comfyui
from ..run_folders import input_folder
from ..types import ROOT
from ..widgets import advanced_widgets

logger = logging.getLogger(__name__)

EXTENSION = ".safetensors"


@advanced_widgets("blocks")
class FramePackLoraLoader:
    DISPLAY_NAME = "FramePack LoRA Loader"
    SEARCH_ALIASES = ("lora", "hunyuan lora", "framepack lora", "musubi", "kohya", "load lora")
    DESCRIPTION = (
        "Applies a HunyuanVideo or FramePack LoRA (also LoHa and LoKr) to a FramePack model, whichever trainer named "
        "its keys. Chain several nodes for several LoRAs."
    )
    CATEGORY = f"{ROOT}/Loaders"
    FUNCTION = "apply"
    RETURN_TYPES = ("MODEL", "STRING")
    RETURN_NAMES = ("model", "report")
    OUTPUT_TOOLTIPS = (
        "The model with the LoRA; wire it on to the next LoRA, a technique or FramePack Sampler.",
        "How many keys of the file matched, in which name style, and which did not; for Preview Any.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (
                    "MODEL",
                    {"tooltip": "A FramePack model, with or without other LoRAs and techniques."},
                ),
                "lora_name": (
                    _loras(),
                    {
                        "tooltip": "A .safetensors file in models/loras. If none of its keys fits the model, the node stops with an error.",
                        # Outside ComfyUI it lies in the input folder, and goes with the workflow as images do.
                        **({} if inside_comfyui() else {"input_file": True}),
                    },
                ),
                "strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": -10.0,
                        "max": 10.0,
                        "step": 0.01,
                        "tooltip": "How much of the LoRA is added: lower is weaker, 0 leaves the model as it is, below 0 subtracts.",
                    },
                ),
                "blocks": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Transformer blocks that the LoRA may change, such as 'double:0-19' or 'double:0-3; single:0-7,12'; empty means the whole model.",
                    },
                ),
            }
        }

    def apply(self, model: Any, lora_name: str, strength: float, blocks: str) -> tuple[Any, str]:
        transformer = model.model.diffusion_model
        if not isinstance(getattr(transformer, "config", None), FramePackConfig):
            raise ValueError(
                f"model is a {type(transformer).__name__}, not a FramePack model; use ComfyUI's own LoRA loader "
                "for it."
            )
        chosen = block_set(blocks)
        check_blocks(chosen, transformer.config)
        if strength == 0:
            return model, f"{lora_name}: strength is 0, the model is unchanged"

        tensors, metadata = read_lora_file(_path(lora_name))
        lora = convert(tensors, parameter_shapes(transformer), chosen, name=lora_name)
        report = f"{lora_name}, strength {strength:g}: {lora.describe()}"
        if lora.unmatched:
            logger.warning("%s", report)
        patched = model.clone()
        _add(patched, lora.changes, strength)
        if trained := one_frame_training(metadata):
            patched.attachments[ATTACHMENT] = trained
            report += f"\ntrained for one frame: {trained.describe()} (preset {FROM_LORA} of FramePack One Frame Sampler)"
        return patched, report


def _add(model: Any, changes: list[Change], strength: float) -> None:
    """Add the changes to the model's patches, in the way of its kind of MODEL."""
    if isinstance(model, PlainModel):
        add_lora(model, changes, strength)
        return
    from ...models.host import add_lora as add_lora_in_host

    add_lora_in_host(model, changes, strength)


def _loras() -> list[str]:
    if inside_comfyui():
        import folder_paths

        return [name for name in folder_paths.get_filename_list("loras") if name.lower().endswith(EXTENSION)]
    folder = input_folder()
    return folder.input_files(frozenset({EXTENSION})) if folder else []


def _path(name: str) -> Path:
    if inside_comfyui():
        import folder_paths

        return Path(folder_paths.get_full_path_or_raise("loras", name))
    folder = input_folder()
    if folder is None:
        raise ValueError(
            f"{name} cannot be found: outside ComfyUI a LoRA is read from the input folder of a run."
        )
    return folder.input_file(name)
