"""Core nodes that turn prompts and images into conditioning."""

from __future__ import annotations

from typing import Any

import torch

Conditioning = list[Any]  # of [states, {further facts by name}]


class CLIPTextEncode:
    """A prompt as conditioning."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"text": ("STRING", {"multiline": True, "dynamicPrompts": True}), "clip": ("CLIP",)}
        }

    def encode(self, text: str, clip: Any) -> tuple[Conditioning]:
        encoded: Conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        return (encoded,)


class ConditioningZeroOut:
    """Conditioning of the same shape that says nothing."""

    CATEGORY = "advanced/conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "zero_out"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def zero_out(self, conditioning: Conditioning) -> tuple[Conditioning]:
        return ([[torch.zeros_like(text), self._zeroed(extras)] for text, extras in conditioning],)

    @staticmethod
    def _zeroed(extras: dict[str, Any]) -> dict[str, Any]:
        pooled = extras.get("pooled_output")
        return dict(extras) if pooled is None else {**extras, "pooled_output": torch.zeros_like(pooled)}


class CLIPVisionEncode:
    """What a vision model sees in an image."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CLIP_VISION_OUTPUT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"clip_vision": ("CLIP_VISION",), "image": ("IMAGE",), "crop": (["center", "none"],)}
        }

    def encode(self, clip_vision: Any, image: torch.Tensor, crop: str) -> tuple[Any]:
        return (clip_vision.encode_image(image, crop=crop == "center"),)
