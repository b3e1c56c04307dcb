"""Reads LoRA files: their tensors by module and part, and an alpha that stands only in a file's metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from math import isfinite, sqrt
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import CheckpointError, open_file, what_is

Tensors = Mapping[str, Tensor]

# How trainers end their keys, and what the tensor is.
ADAPTER = r"(?:\.\w+)?"
ENDINGS = tuple((re.compile(rf"(?P<module>.+?)(?:{pattern})"), part) for pattern, part in (
    (rf"\.(?:lora_down|lora_A){ADAPTER}\.weight|\.lora_A|[._]lora(?:_linear_layer)?\.down\.weight", "down"),
    (rf"\.(?:lora_up|lora_B){ADAPTER}\.weight|\.lora_B|[._]lora(?:_linear_layer)?\.up\.weight", "up"),
    (rf"\.(?:lora_up|lora_B){ADAPTER}\.bias", "up_bias"),
    (r"\.lora_magnitude_vector(?:\.\w+){0,2}", "magnitude"),
    *((rf"\.{part}", part) for part in (
        "alpha", "dora_scale", "diff", "diff_b", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b",
        "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")),
))  # fmt: skip

# No trained part comes near this; the product of four such parts and alpha is still finite in float32.
LARGEST = 1e6

# Where metadata states one alpha for the whole file: names that PEFT and others use, then kohya's.
FLAT_ALPHA = ("lora_alpha", "alpha", "network_alpha")
KOHYA_ALPHA = "ss_network_alpha"
ADAPTER_METADATA = "lora_adapter_metadata"  # diffusers' JSON


class LoraError(ValueError):
    """A LoRA that cannot be applied; the message names the file, what is wrong and what to do."""


def read_lora_file(path: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and an alpha for each module where only the metadata states it; the metadata.

    Raises LoraError for any other file.
    """
    path = Path(path)
    if path.suffix.lower() not in (".safetensors", ".sft"):
        raise LoraError(f"{path.name} is {what_is(path)}; only .safetensors files are read as LoRAs.")
    try:
        with open_file(path) as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except CheckpointError as error:
        raise LoraError(str(error)) from error
    return {**tensors, **stated_alphas(tensors, metadata, path.name)}, metadata


def by_module(keys: Iterable[str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Module of the file -> part -> key, and the keys that are left out, each with the reason.

    A module with a part that is not understood is left out as a whole: without it the rest means another change.
    """
    modules: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    refused: dict[str, str] = {}
    for key in keys:
        found = ((end.fullmatch(key), part) for end, part in ENDINGS)
        match, part = next(((match, part) for match, part in found if match), (None, ""))
        if match is None:
            unknown.append(key)
        elif modules.setdefault(match["module"], {}).setdefault(part, key) != key:
            refused[match["module"]] = f"{key} and {modules[match['module']][part]} are the same part"
    for key in unknown:
        if owner := owner_of(key, modules):
            refused.setdefault(owner, f"its part {key} is not understood here")

    reasons = dict.fromkeys(unknown, "no part of a LoRA, LoHa or LoKr that is known here")
    for module, reason in refused.items():
        reasons.update(dict.fromkeys(modules.pop(module).values(), reason))
    return modules, reasons


def owner_of(key: str, modules: Mapping[str, Any]) -> str | None:
    """The module that an unknown key belongs to: the longest one that the key continues after a dot."""
    while "." in key:
        key = key.rpartition(".")[0]
        if key in modules:
            return key
    return None


def refuse_degenerate(name: str, parts: Mapping[str, str], tensors: Tensors) -> None:
    """Raises LoraError, with `name` for the file, for parts (part -> key) that hold no usable numbers."""
    for part, key in parts.items():
        if wrong := what_is_wrong(part, tensors[key]):
            raise LoraError(
                f"{name}: {key} {wrong}; the file is damaged, take another copy or version of it."
            )


def what_is_wrong(part: str, value: Tensor) -> str | None:
    """Why a part of a LoRA cannot be computed with, or None where it can."""
    if part == "alpha":
        if value.numel() != 1 or value.dtype.is_complex:
            return f"holds {value.numel()} numbers of {value.dtype}, expected one real number"
    elif value.ndim == 0:
        return "is a single number, expected a matrix or vector"
    elif not value.dtype.is_floating_point:
        return f"is stored as {value.dtype}, expected floating-point numbers"
    if value.numel() == 0:
        return f"is empty, of shape {list(value.shape)}"
    if value.is_meta:
        return None
    largest = float(value.float().abs().max())
    if not isfinite(largest):
        return "holds numbers that are not finite (NaN or infinity)"
    return f"holds numbers as large as {largest:.0e}" if largest > LARGEST else None


def stated_alphas(tensors: Tensors, metadata: Mapping[str, str], name: str) -> dict[str, Tensor]:
    """The alpha that a file's metadata states, under the key of each module; empty where the tensors have it."""
    modules, _ = by_module(tensors)
    if any("alpha" in parts for parts in modules.values()):
        return {}
    adapter = adapter_config(metadata, name)
    alphas: dict[str, Tensor] = {}
    for module, parts in modules.items():
        down = tensors[parts["down"]] if "down" in parts else None
        stated = module_alpha(module, adapter)
        if stated is None and parts.get("down", "").endswith("lora_down.weight"):
            # musubi-tuner's converter to lora_A keeps this entry though it has multiplied alpha in.
            stated = number(metadata.get(KOHYA_ALPHA))
        if stated is not None and down is not None and down.ndim:
            # PEFT's rank-stabilised LoRA scales by alpha / sqrt(rank) (arXiv 2312.03732).
            factor = sqrt(down.shape[0]) if is_true(adapter.get("use_rslora")) else 1.0
            alphas[f"{module}.alpha"] = torch.tensor(stated * factor)
    return alphas


def adapter_config(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """PEFT's settings as metadata states them: diffusers' JSON, without the model's prefix, or flat keys."""
    text = metadata.get(ADAPTER_METADATA)
    if text is None:
        return dict(metadata)
    try:
        stated = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoraError(
            f"{name}: its {ADAPTER_METADATA} is not JSON; take another copy of the file."
        ) from error
    if not isinstance(stated, dict):
        raise LoraError(f"{name}: its {ADAPTER_METADATA} is no JSON object; take another copy of the file.")
    return {
        key.rpartition(".")[2]: value for key, value in stated.items() if not key.startswith("text_encoder")
    }


def module_alpha(module: str, adapter: Mapping[str, Any]) -> float | None:
    """The alpha of a module: its own in alpha_pattern, else that of the whole file, else None."""
    patterns = adapter.get("alpha_pattern")
    if isinstance(patterns, dict):
        for pattern, value in patterns.items():
            if f".{module}".endswith(f".{pattern.removeprefix('^')}"):
                return number(value)
    stated = (number(adapter.get(key)) for key in FLAT_ALPHA)
    return next((value for value in stated if value is not None), None)


def number(value: Any) -> float | None:
    """A finite number from JSON or text; None for anything else, such as the word None."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def is_true(value: Any) -> bool:
    """Whether JSON or text says yes."""
    return str(value).lower() in ("true", "1")
