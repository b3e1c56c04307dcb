"""Quantised models in ComfyUI: by the host's mixed-precision layers where it has them, else by layers of our own.

Imported only inside ComfyUI.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import comfy.lora
import comfy.model_patcher
import comfy.ops
from torch import Tensor, nn

# What the host's own layers are given; scales of rows or blocks in fp8 are only known here.
HOST_PACKINGS = {"float8_e4m3fn", "float8_e5m2", "int8_tensorwise", "mxfp8", "nvfp4"}


def host_takes(packings: Collection[str]) -> bool:
    """Whether the host has layers for all of these packings."""
    if not hasattr(comfy.ops, "mixed_precision_ops") or not HOST_PACKINGS.issuperset(packings):
        return False
    from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor

    return hasattr(QuantizedTensor, "from_float") and set(packings) <= QUANT_ALGOS.keys()


class PatchAtUse:
    """Adds a layer's LoRA patches to its unpacked weight, in float32."""

    def __init__(self, patches: dict[str, Any], key: str) -> None:
        self.patches = patches
        self.key = key

    def __call__(self, weight: Tensor) -> Tensor:
        patched: Tensor = comfy.lora.calculate_weight(self.patches[self.key], weight.float(), self.key)
        return patched.to(weight.dtype)


class QuantisedPatcher(comfy.model_patcher.ModelPatcher):  # type: ignore[misc]  # the host has no types
    """A ModelPatcher that leaves quantised weights as they are and patches them when they are unpacked for use.

    The host would change the stored bytes as if they were numbers.
    """

    def patch_weight_to_device(self, key: str, *args: Any, **kwargs: Any) -> Any:
        layer = packed_layer(self.model, key)
        if layer is None:
            return super().patch_weight_to_device(key, *args, **kwargs)
        if key in self.patches:
            layer.weight_function = [*without_patch(layer), PatchAtUse(self.patches, key)]
        return layer.weight

    def unpatch_model(self, device_to: Any = None, unpatch_weights: bool = True) -> None:
        if unpatch_weights:
            for layer in packed_layers(self.model):
                layer.weight_function = without_patch(layer)
        super().unpatch_model(device_to, unpatch_weights)

    def partially_unload(self, *args: Any, **kwargs: Any) -> Any:
        freed = super().partially_unload(*args, **kwargs)
        # Layers that it moved away were given a patch of the host's own.
        for layer in packed_layers(self.model):
            if any(
                isinstance(function, comfy.model_patcher.LowVramPatch) for function in layer.weight_function
            ):
                layer.weight_function = without_patch(layer)
        return freed

    def patch_hook_weight_to_device(
        self, hooks: Any, combined_patches: Any, key: str, *args: Any, **kwargs: Any
    ) -> Any:
        if key in combined_patches and packed_layer(self.model, key) is not None:
            raise ValueError(
                "hooks that change weights in the middle of a run do not work on a quantised model; take a bf16 or fp8 "
                "file, or FramePack LoRA Loader instead of the hook."
            )
        return super().patch_hook_weight_to_device(hooks, combined_patches, key, *args, **kwargs)

    def get_key_patches(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("a quantised model cannot be merged or extracted from; take a bf16 or fp8 file.")


def packed_layer(model: nn.Module, key: str) -> Any:
    """The layer of a weight that is stored quantised; None for any other key."""
    if not key.endswith(".weight"):
        return None
    layer = model.get_submodule(key.removesuffix(".weight"))
    return layer if getattr(layer, "packing", None) else None


def packed_layers(model: nn.Module) -> list[Any]:
    """Every layer whose weight is stored quantised."""
    return [layer for layer in model.modules() if getattr(layer, "packing", None)]


def without_patch(layer: Any) -> list[Any]:
    """A layer's functions of the weight, but for the patch that is put on here."""
    return [function for function in layer.weight_function if not isinstance(function, PatchAtUse)]
