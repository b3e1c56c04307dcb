"""The headless stand-in for ComfyUI's MODEL."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from .files.lora import Change, parameter_shapes, rounds

CPU = torch.device("cpu")
_device: ContextVar[torch.device | None] = ContextVar("_device", default=None)


def plain_device() -> torch.device:
    """Where loaders outside ComfyUI put their models: the CPU, unless `models_on` says otherwise."""
    return _device.get() or CPU


@contextmanager
def models_on(device: torch.device) -> Iterator[None]:
    """Lets loaders outside ComfyUI put their models on a device."""
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


@dataclass(frozen=True)
class PlainInner:
    """A diffusion model with the factor between latents as the VAE gives them and as sampling uses them."""

    diffusion_model: nn.Module
    latent_format_scale: float

    def process_latent_in(self, latent: Tensor) -> Tensor:
        """Scale a VAE's latent for sampling."""
        return latent * self.latent_format_scale

    def process_latent_out(self, latent: Tensor) -> Tensor:
        """Undo `process_latent_in`."""
        return latent / self.latent_format_scale


class PlainModel:
    """A model with its options, under the names of ComfyUI's ModelPatcher; clones share weights.

    `compute_dtype` is what inputs are cast to; by default that of the weights, or bfloat16 for fp8 and float16
    weights (float16 overflows in this model).
    """

    def __init__(
        self,
        diffusion_model: nn.Module,
        latent_scale: float,
        load_device: torch.device | str | None = None,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        self.model = PlainInner(diffusion_model, latent_scale)
        self.compute_dtype = compute_dtype or _compute_dtype(cast(torch.dtype, diffusion_model.dtype))
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.attachments: dict[str, Any] = {}
        self.load_device = torch.device(load_device or next(diffusion_model.parameters()).device)

    def clone(self) -> PlainModel:
        """Give a model of the same weights whose options and attachments can change on their own."""
        other = copy.copy(self)
        other.model_options = copy.deepcopy(self.model_options)
        other.attachments = dict(self.attachments)
        return other

    def add_patches(
        self, patches: Mapping[str, Any], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[str]:
        """Change weights to weight * strength_model + difference * strength_patch and give the keys found.

        `patches` maps "diffusion_model.<parameter>" to a difference of the parameter's shape, or to ComfyUI's
        ("diff", (difference,)). Only the patched parameters are copied, so other clones keep their weights. A quantised
        weight stays as it is and is changed when it is unpacked for use.
        Raises ValueError for a difference of another shape or kind.
        """
        parameters = dict(self.model.diffusion_model.named_parameters())
        names = {key: key.removeprefix("diffusion_model.") for key in patches}
        found = {key: name for key, name in names.items() if name in parameters}
        packed = {name for name in found.values() if _packed_layer(self.model.diffusion_model, name)}
        shared = {id(p): p for name, p in parameters.items() if name in packed or name not in found.values()}
        diffusion_model = copy.deepcopy(self.model.diffusion_model, shared)
        change = partial(_changed, strengths=(strength_model, strength_patch))
        with torch.no_grad():
            for key, name in found.items():
                weight, layer = diffusion_model.get_parameter(name), _packed_layer(diffusion_model, name)
                if layer is None:
                    difference = _difference(key, patches[key], tuple(weight.shape))
                    weight.copy_(change(weight, difference=difference))
                else:
                    difference = _difference(key, patches[key], (layer.out_features, layer.in_features))
                    earlier = getattr(layer, "weight_function", ())
                    layer.weight_function = [*earlier, partial(change, difference=difference)]
        self.model = PlainInner(diffusion_model, self.model.latent_format_scale)
        return list(found)


def add_lora(model: PlainModel, changes: list[Change], strength: float) -> None:
    """Adds the changes of a LoRA to a model's weights."""
    shapes = parameter_shapes(model.model.diffusion_model)
    for changed in rounds(changes):
        differences = {
            name: value for change in changed.values() for name, value in change.differences(shapes).items()
        }
        model.add_patches({f"diffusion_model.{name}": value for name, value in differences.items()}, strength)


def _compute_dtype(stored: torch.dtype) -> torch.dtype:
    return stored if stored in (torch.bfloat16, torch.float32, torch.float64) else torch.bfloat16


def _packed_layer(transformer: nn.Module, name: str) -> Any:
    """The layer of a weight that is stored quantised; None for any other parameter."""
    module, _, parameter = name.rpartition(".")
    layer = transformer.get_submodule(module)
    return layer if parameter == "weight" and getattr(layer, "packing", None) else None


def _changed(weight: Tensor, difference: Tensor, strengths: tuple[float, float]) -> Tensor:
    """A weight times the first strength, and the difference times the second added to it."""
    kept, added = strengths
    changed = weight.float() * kept + difference.to(weight.device, torch.float32) * added
    return changed.to(weight.dtype)


def _difference(key: str, patch: Any, shape: tuple[int, ...]) -> Tensor:
    difference = patch
    if isinstance(patch, (tuple, list)) and len(patch) == 2 and patch[0] == "diff":
        difference = patch[1][0]
    if not isinstance(difference, Tensor):
        kind = type(patch).__name__
        raise ValueError(f'The patch of {key} is a {kind}: give a tensor or ("diff", (tensor,)).')
    if tuple(difference.shape) != shape:
        raise ValueError(
            f"The patch of {key} is {list(difference.shape)}, but the weight is {list(shape)}: "
            "it was made for another model."
        )
    return difference
