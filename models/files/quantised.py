"""The quantised layouts of checkpoints: which tensors together stand for one weight, and how.

Known are ComfyUI's older scaled fp8 (`scaled_fp8`, `scale_weight`), musubi-tuner's fp8_scaled (a `scale_weight` for
each weight, row or block), ComfyUI's newer layouts (`comfy_quant` or `_quantization_metadata`) and GGUF's blocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.gguf_packings import GGUF_BLOCKS
from ..layers.packings import IN_BLOCKS, SCALED, scale_fits, unpack, unpacked_shape
from .checkpoint import CheckpointError, Entry, open_file

MARKER = "scaled_fp8"
SETTINGS = "comfy_quant"
HEADER_SETTINGS = "_quantization_metadata"
# The ends of keys that hold scales, and what the scale is; scales of activations are only for products in fp8.
SCALES = {
    "scale_weight": "scale",
    "scale_weight_tensor": "scale_tensor",
    "weight_scale": "scale",
    "weight_scale_2": "scale_2",
}
ACTIVATION_SCALES = ("scale_input", "input_scale")
# How each packing of a safetensors file stores its weight, and the scales that it needs.
STORED = {
    "float8_e4m3fn": ("F8_E4M3", {"scale"}),
    "float8_e5m2": ("F8_E5M2", {"scale"}),
    "int8_tensorwise": ("I8", {"scale"}),
    "nvfp4": ("U8", {"scale", "scale_2"}),
    "mxfp8": ("F8_E4M3", {"scale"}),
}
UNKNOWN = re.compile(
    r"(.*\.)?(weight_scale\w*|weight_s_\w+|pre_quant_scale|scales?|qweight|qzeros|absmax|quant_map|quant_state\..*|nested_\w+)"
)


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """One weight that is stored quantised.

    packing: how, by ComfyUI's or GGUF's name.
    shape: the shape of the weight that it stands for.
    entries: where its parts lie: "weight" and its scales.
    settings: ComfyUI's settings of it.
    """

    packing: str
    shape: tuple[int, ...]
    entries: Mapping[str, Entry]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Packed:
    """A quantised weight in memory: its packing, its parts by name, and ComfyUI's settings of it."""

    packing: str
    parts: Mapping[str, Tensor]
    settings: Mapping[str, Any]

    def unpacked(self) -> Tensor:
        """The weight in float32."""
        return unpack(self.packing, self.parts)

    def host_tensors(self, name: str) -> dict[str, Tensor]:
        """The parts under the keys that ComfyUI's mixed-precision layers read, for the weight called `name`."""
        module = name.removesuffix(".weight")
        text = json.dumps({**self.settings, "format": self.packing}).encode()
        tensors = {
            name: self.parts["weight"],
            f"{module}.{SETTINGS}": torch.tensor(list(text), dtype=torch.uint8),
        }
        for part, key in (("scale", "weight_scale"), ("scale_2", "weight_scale_2")):
            if part in self.parts:
                value = self.parts[part]
                tensors[f"{module}.{key}"] = value.reshape(()) if value.numel() == 1 else value
        return tensors


def store(
    transformer: nn.Module,
    plain: Mapping[str, Tensor],
    quantised: Mapping[str, Packed],
    mixed_precision: bool,
) -> None:
    """Puts the weights of a checkpoint into a transformer, the quantised ones as they are where a layer takes them.

    `mixed_precision` says that the linear layers are ComfyUI's mixed-precision ones.
    """
    tensors = dict(plain)
    kept: dict[Any, Packed] = {}
    for name, weight in quantised.items():
        layer: Any = transformer.get_submodule(name.removesuffix(".weight"))
        if name.startswith("proj_out.") or not hasattr(layer, "in_features"):
            dtype = torch.float32 if name.startswith("proj_out.") else layer.weight.dtype
            tensors[name] = weight.unpacked().to(dtype)
        elif mixed_precision:
            tensors.update(weight.host_tensors(name))
        else:
            kept[layer], tensors[name] = weight, layer.weight
    transformer.load_state_dict(tensors, assign=True)
    if mixed_precision:
        # Those layers store plain weights in the dtype that they compute in, but this one is float32 throughout.
        last: Any = transformer.get_submodule("proj_out")
        last.weight = nn.Parameter(tensors["proj_out.weight"], requires_grad=False)
    for layer, weight in kept.items():
        layer.store(weight.packing, weight.parts)


def split_quantised(
    path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]
) -> tuple[dict[str, Entry], dict[str, Quantised]]:
    """The plain tensors of a checkpoint, and its quantised weights by name.

    Raises CheckpointError, with `path` for the file, for layouts that are not known or not whole.
    """
    settings = stated_settings(path, entries, metadata)
    plain: dict[str, Entry] = {}
    scales: dict[str, dict[str, Entry]] = {module: {} for module in settings}
    for name, entry in entries.items():
        module, _, end = name.rpartition(".")
        if end in SCALES and SCALES[end] not in scales.setdefault(module, {}):
            scales[module][SCALES[end]] = entry
        elif end in SCALES or UNKNOWN.fullmatch(name):
            raise unsupported(path, name, entry.dtype)
        elif name != MARKER and end not in (SETTINGS, *ACTIVATION_SCALES):
            plain[name] = entry

    quantised = {name: block_weight(entry) for name, entry in plain.items() if entry.dtype in GGUF_BLOCKS}
    for module, parts in scales.items():
        name = f"{module}.weight"
        if name not in plain:
            raise CheckpointError(f"{path} has the scales of {name}, but not the weight; download it again")
        quantised[name] = scaled_weight(
            path, name, {"weight": plain[name], **parts}, settings.get(module, {})
        )
    return {name: entry for name, entry in plain.items() if name not in quantised}, quantised


def block_weight(entry: Entry) -> Quantised:
    """A weight in blocks of GGUF, which hold their scales."""
    return Quantised(packing=entry.dtype, shape=entry.shape, entries={"weight": entry}, settings={})


def scaled_weight(
    path: Path, name: str, entries: Mapping[str, Entry], settings: Mapping[str, Any]
) -> Quantised:
    """A weight with scales in tensors of their own; raises CheckpointError where they do not fit each other."""
    weight = entries["weight"]
    stored_as = {dtype: packing for packing, (dtype, _) in STORED.items() if packing in SCALED}
    packing = settings.get("format", stored_as.get(weight.dtype))
    if (
        not isinstance(packing, str)
        or packing not in STORED
        or settings.get("convrot")
        or settings.get("params")
    ):
        raise unsupported(path, name, f"{weight.dtype}, {dict(settings) or 'with a scale'}")
    dtype, needed = STORED[packing]
    if weight.dtype != dtype or not needed <= entries.keys():
        found = f"{weight.dtype} with {', '.join(sorted(entries.keys() - {'weight'})) or 'no scale'}"
        raise CheckpointError(
            f"{path}: {name} is {found}, expected {packing} ({dtype} with {', '.join(sorted(needed))})"
        )
    shape = unpacked_shape(packing, weight.shape)
    if not all(scale_fits(packing if part == "scale" else "one", shape, entry.shape)
               for part, entry in entries.items() if part != "weight"):  # fmt: skip
        sizes = {part: list(entry.shape) for part, entry in entries.items() if part != "weight"}
        raise CheckpointError(f"{path}: the scales {sizes} do not fit {name} {list(shape)}; it is damaged")
    if prod(entries["scale"].shape) != 1 or "scale_tensor" in entries:
        packing = IN_BLOCKS.get(packing, packing)
    return Quantised(packing=packing, shape=shape, entries=entries, settings=settings)


def stated_settings(
    path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """ComfyUI's settings of each quantised module, from the header and from its `comfy_quant` tensors."""
    found: dict[str, Any] = {}
    if HEADER_SETTINGS in metadata:
        stated = parsed(path, HEADER_SETTINGS, metadata[HEADER_SETTINGS]).get("layers")
        layers = stated if isinstance(stated, dict) else {}
        names = {entry.key: name for name, entry in entries.items()}
        weights = {names.get(f"{module}.weight"): value for module, value in layers.items()}
        found = {name.removesuffix(".weight"): value for name, value in weights.items() if name}
    for name, entry in entries.items():
        module, _, end = name.rpartition(".")
        if end == SETTINGS:
            found[module] = parsed(path, name, read_text(path, entry))
    wrong = next((module for module, value in found.items() if not isinstance(value, dict)), None)
    if wrong is not None:
        raise CheckpointError(f"{path}: the quantisation settings of {wrong} are no JSON object")
    return found


def read_text(path: Path, entry: Entry) -> bytes:
    """Text that a file holds as a vector of bytes."""
    if entry.dtype != "U8" or len(entry.shape) != 1:
        raise CheckpointError(
            f"{path}: {entry.key} is {entry.dtype} {list(entry.shape)}, expected text in U8"
        )
    with open_file(entry.path) as file:
        return bytes(file.get_tensor(entry.key).tolist())


def parsed(path: Path, name: str, text: str | bytes) -> dict[str, Any]:
    """A JSON object from a file; raises CheckpointError for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {name} is not JSON ({error}); download it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: {name} is no JSON object; download it again")
    return found


def unsupported(path: Path, name: str, found: str) -> CheckpointError:
    """What to say of a quantised layout that is not known."""
    return CheckpointError(
        f"{path} is quantised in a layout that is not supported ({name!r}, {found}); use a bf16, fp16, fp32 or fp8 "
        "file, scaled fp8, ComfyUI's int8, mxfp8 or nvfp4, or GGUF (Q2_K to Q8_0)"
    )
