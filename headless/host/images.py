"""Core nodes for pictures: loading, choosing from a batch, saving and previewing."""

from __future__ import annotations

from typing import Any

import torch

from ...nodes.run_folders import PREVIEWS
from ..files import folders, pictures
from .files import in_input_folder, saved_file


class LoadImage:
    """A picture of the input folder and its transparency."""

    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": (folders.current().input_files(pictures.IMAGE_EXTENSIONS), {"image_upload": True})
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, image: str | None) -> bool | str:
        # A linked name is None: known only when it runs.
        return image is None or in_input_folder(image)

    def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        return pictures.load_image(folders.current().input_file(image))


class ImageFromBatch:
    """Some images of several; an index or a length beyond them stops at the last one."""

    CATEGORY = "image/batch"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "frombatch"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE",),
                "batch_index": ("INT", {"default": 0, "min": 0, "max": 4095}),
                "length": ("INT", {"default": 1, "min": 1, "max": 4096}),
            }
        }

    def frombatch(self, image: torch.Tensor, batch_index: int, length: int) -> tuple[torch.Tensor]:
        first = min(batch_index, image.shape[0] - 1)
        return (image[first : first + length].clone(),)


class SaveImage:
    """PNG files in the output folder."""

    CATEGORY = "image"
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT"},
        }

    def save_images(
        self, images: torch.Tensor, filename_prefix: str = "ComfyUI", prompt: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return _save(images, filename_prefix, prompt, kind="output")


class PreviewImage:
    """PNG files in the folder `previews` of the output folder."""

    CATEGORY = "image"
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}, "hidden": {"prompt": "PROMPT"}}

    def save_images(self, images: torch.Tensor, prompt: dict[str, Any] | None = None) -> dict[str, Any]:
        return _save(images, f"{PREVIEWS}/ComfyUI", prompt, kind="temp")


def _save(images: torch.Tensor, prefix: str, prompt: dict[str, Any] | None, *, kind: str) -> dict[str, Any]:
    """Writes images [N,H,W,C] as PNG files, the workflow in each of them, and returns their names for the interface."""
    size = (images.shape[2], images.shape[1])
    saved = []
    for number, image in enumerate(images):
        numbered = prefix.replace("%batch_num%", str(number))
        with folders.current().new_file(numbered, ".png", size) as file:
            pictures.save_png(file.unfinished, image, {"prompt": prompt} if prompt else None)
        saved.append(saved_file(file.path, kind))
    return {"ui": {"images": saved}}
