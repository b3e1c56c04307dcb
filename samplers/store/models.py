"""What of a MODEL decides on its predictions: weights, patches, options, precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ...models.plain import PlainModel
from .digest import NotKeyed, digest
from .weights import file_weights, module_weights

# Under this key a MODEL of ComfyUI carries a digest of the files that its weights come from.
WEIGHT_FILES = "framepack_weight_files"

# What ComfyUI's nodes put on a MODEL beside its options.
PATCHES = (
    "patches",
    "object_patches",
    "weight_wrapper_patches",
    "wrappers",
    "callbacks",
    "injections",
    "hook_patches",
    "forced_hooks",
    "additional_models",
)


def model_parts(model: Any, without: str) -> dict[str, Any]:
    """All of it by name, for a digest.

    `without` is the entry of its transformer_options that is left out. Raises NotKeyed for a MODEL of ComfyUI whose
    weights come from no file that is known.
    """
    own = _plain if isinstance(model, PlainModel) else _host
    return {
        **own(model),
        "device": str(model.load_device),
        "scale": model.model.process_latent_in(torch.ones(1)),
        "options": without_empty(_options(model.model_options, without)),
    }


def files_digest(paths: Iterable[Path]) -> str:
    """What a MODEL whose weights come from these files carries under WEIGHT_FILES. Raises OSError."""
    return digest([file_weights(path) for path in paths])


def _plain(model: PlainModel) -> dict[str, Any]:
    dit = model.model.diffusion_model
    layers = [(name, getattr(layer, "weight_function", None)) for name, layer in dit.named_modules()]
    return {
        "weights": module_weights(dit),
        "changes": [(name, functions) for name, functions in layers if functions],
        "compute": model.compute_dtype,
        "attention": dit.attention,
        "architecture": [type(dit), dit.config],
    }


def _host(model: Any) -> dict[str, Any]:
    base, dit = model.model, model.model.diffusion_model
    return {
        "weights": _files(model),
        "patches": without_empty({name: getattr(model, name, None) for name in PATCHES}),
        "compute": [base.manual_cast_dtype, sorted({str(part.dtype) for part in dit.parameters()})],
        "optimizations": base.model_config.optimizations,
        "architecture": [type(base), type(dit), dit.config],
    }


def _files(model: Any) -> str:
    files: str | None = model.attachments.get(WEIGHT_FILES)
    if files is None:
        raise NotKeyed("a MODEL whose weights come from no file that is known")
    return files


def _options(options: Mapping[str, Any], without: str) -> dict[str, Any]:
    inner = {name: value for name, value in options.get("transformer_options", {}).items() if name != without}
    return {**options, "transformer_options": inner}


def without_empty(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """The entries that hold something, at any depth of mappings."""
    inner = {
        key: without_empty(value) if isinstance(value, Mapping) else value for key, value in values.items()
    }
    return {key: value for key, value in inner.items() if not _is_empty(value)}


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping | list | tuple | set) and not value)
