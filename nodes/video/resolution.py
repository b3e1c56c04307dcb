"""FramePack Resolution: a node that brings images to the sizes that FramePack knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...video.resolution import BASE_RESOLUTION, METHODS, STEP, fit, nearest_bucket
from ..notices import announce, with_notices
from ..types import ROOT
from ..widgets import advanced_widgets
from ..workflow.encoding import ENCODERS, kept_frames
from ..workflow.graph import WorkflowGraph


@advanced_widgets("pad_color")
class FramePackResolution:
    DISPLAY_NAME = "FramePack Resolution"
    SEARCH_ALIASES = ("bucket", "find nearest bucket", "resize image", "video size", "hunyuan resolution")
    DESCRIPTION = (
        "Brings an image to the nearest of the sizes that FramePack was trained on, keeping its aspect: "
        "cropped, or padded with a colour."
    )
    CATEGORY = f"{ROOT}/Video"
    FUNCTION = "resize"
    RETURN_TYPES = ("IMAGE", "INT", "INT")
    RETURN_NAMES = ("image", "width", "height")
    OUTPUT_TOOLTIPS = (
        "The image at its new size, for VAE Encode and CLIP Vision Encode (crop none).",
        "Its new width in pixels, a multiple of 16.",
        "Its new height in pixels, a multiple of 16.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The start image, or several of one size."}),
                "resolution": (
                    "INT",
                    {
                        "default": BASE_RESOLUTION,
                        "min": 240,
                        "max": 960,
                        "step": STEP,
                        "tooltip": "Side of a square with about as many pixels. 640 is FramePack's; lower is faster and rougher, higher slower and further from what the model knows.",
                    },
                ),
                "method": (
                    list(METHODS),
                    {
                        "default": METHODS[0],
                        "tooltip": "crop fills the size and cuts what stands over at two sides; pad keeps all of the image and adds bars.",
                    },
                ),
                "pad_color": (
                    "STRING",
                    {
                        "default": "black",
                        "tooltip": "Colour of the bars with method pad: a name, or a code such as #808080.",
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "unique_id": "UNIQUE_ID"},
        }

    def resize(
        self,
        image: Any,
        resolution: int,
        method: str,
        pad_color: str,
        prompt: Any = None,
        unique_id: Any = None,
    ) -> Any:
        images = _rgb_images(image, "image")
        height, width = nearest_bucket(images.shape[1], images.shape[2], resolution)
        notices = _encoding_notices(WorkflowGraph(prompt), unique_id, len(images))
        announce(notices)
        return with_notices(
            (fit(images, height=height, width=width, method=method, colour=pad_color), width, height), notices
        )


def _encoding_notices(graph: WorkflowGraph, node: Any, count: int) -> list[str]:
    """What becomes of `count` images where they go into VAE Encode as they are and it does not keep all of them."""
    notice = kept_frames(count) if graph.target(node, 0, ENCODERS, "pixels") else None
    return [] if notice is None else [notice]


def _rgb_images(images: Any, name: str) -> Tensor:
    """Images [B, H, W, 3]. Raises ValueError for none, and for images with an alpha channel."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or 0 in images.shape:
        got = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(
            f"{name} is {got}, expected at least one image [count, height, width, 3]; connect Load Image."
        )
    if images.shape[-1] != 3:
        raise ValueError(
            f"{name} has {images.shape[-1]} channels, expected 3 (RGB); an alpha channel is removed by Split Image "
            "with Alpha."
        )
    return images
