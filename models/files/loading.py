"""Loads and saves FramePack transformers. A checkpoint is checked in full before one weight is read."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..attention.joint import AttentionFunction, sdpa_attention
from ..config import METADATA_KEY, FramePackConfig
from ..dit import FramePackDiT
from ..layers import operations as ops
from ..layers.quantised import quantised_operations
from .checkpoint import CheckpointError, Entry, open_file, read_headers, resolve
from .quantised import Packed, Quantised, split_quantised, store, unsupported

logger = logging.getLogger(__name__)

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.")
DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
LORA = re.compile(r"lora_unet_.*|.*\.lora_(A|B|up|down)\..*")


@dataclass(frozen=True, kw_only=True)
class Header:
    """A checkpoint that was checked and not yet read.

    path: what the user named.
    paths: its files.
    config: the architecture that it holds.
    entries: where each plain tensor lies, by diffusers' names without a prefix.
    quantised: the weights that are stored quantised, by name.
    metadata: the text that the files' headers carry.
    """

    path: Path
    paths: tuple[Path, ...]
    config: FramePackConfig
    entries: Mapping[str, Entry]
    quantised: Mapping[str, Quantised]
    metadata: Mapping[str, str]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which most of the weights are stored; bfloat16 beside quantised weights."""
        if self.quantised:
            return torch.bfloat16
        counts: Counter[str] = Counter()
        for entry in self.entries.values():
            counts[entry.dtype] += prod(entry.shape)
        return DTYPES[counts.most_common(1)[0][0]]

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        return sum(map(prod, all_shapes(self.entries, self.quantised).values()))

    @property
    def packings(self) -> set[str]:
        """How weights are quantised, by name; empty where none is."""
        return {weight.packing for weight in self.quantised.values()}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint in memory.

    config: the architecture that it holds.
    state_dict: its weights by diffusers' names.
    quantised: its quantised weights by name.
    metadata: the text that the files' headers carry.
    paths: its files.
    dtype: that of most weights.
    """

    config: FramePackConfig
    state_dict: dict[str, Tensor]
    quantised: Mapping[str, Packed]
    metadata: Mapping[str, str]
    paths: tuple[Path, ...]
    dtype: torch.dtype


def load_dit(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    operations: Any = ops.default,
    attention: AttentionFunction = sdpa_attention,
    mixed_precision: bool = False,
) -> FramePackDiT:
    """The transformer of a checkpoint, its weights as `dtype` (None: as stored), ready to predict.

    Quantised weights stay so, and are unpacked layer by layer at use: by the layers of `operations` themselves
    where `mixed_precision` says that they are ComfyUI's mixed-precision ones, else by layers of our own.
    Raises CheckpointError before any weight is read where `path` is not a whole FramePack checkpoint.
    """
    checkpoint = read_checkpoint(path, dtype=dtype, device=device)
    own = bool(checkpoint.quantised) and not mixed_precision
    dit = FramePackDiT(
        checkpoint.config,
        dtype=checkpoint.dtype,
        # ComfyUI's mixed-precision layers put what they load where they were made.
        device=device if mixed_precision else "meta",
        operations=quantised_operations(operations) if own else operations,
        attention=attention,
    )
    store(dit, checkpoint.state_dict, checkpoint.quantised, mixed_precision)
    return dit.eval().requires_grad_(False)


def read_checkpoint(
    path: str | os.PathLike[str], *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Checkpoint:
    """The weights of a checkpoint as `dtype` (None: as stored; the last projection always in float32).

    Raises CheckpointError before any weight is read where `path` is not a whole FramePack checkpoint.
    """
    header = inspect_checkpoint(path)
    state_dict: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in header.quantised}
    for file in header.paths:
        with open_file(file, device) as tensors:
            for name, entry in header.entries.items():
                if entry.path == file:
                    stored = torch.float32 if name.startswith("proj_out.") else dtype
                    state_dict[name] = tensors.get_tensor(entry.key).to(dtype=stored)
            for name, weight in header.quantised.items():
                found = {part: entry.key for part, entry in weight.entries.items() if entry.path == file}
                parts[name].update({part: tensors.get_tensor(key) for part, key in found.items()})
    logger.info("read %d tensors of %s", len(state_dict), header.path)
    return Checkpoint(
        config=header.config,
        state_dict=state_dict,
        quantised={
            name: Packed(weight.packing, parts[name], weight.settings)
            for name, weight in header.quantised.items()
        },
        metadata=header.metadata,
        paths=header.paths,
        dtype=dtype or header.dtype,
    )


def inspect_checkpoint(path: str | os.PathLike[str]) -> Header:
    """Everything about a checkpoint but its weights, which are not read.

    `path` is a safetensors file, an index, any one shard of a set, or a directory that holds one model.
    Raises CheckpointError for what cannot be loaded: absent, truncated or quantised files, other models,
    missing or unknown keys, wrong shapes.
    """
    path = Path(path)
    paths, promised = resolve(path)
    entries, metadata = read_headers(paths)
    refuse_missing(path, [key for key in promised if key not in entries])
    entries = strip_prefix(entries)
    refuse_other_models(path, entries)
    entries, quantised = split_quantised(path, entries, metadata)
    refuse_unknown_dtypes(path, entries)

    shapes = all_shapes(entries, quantised)
    try:
        stated = FramePackConfig.from_metadata({**config_metadata(paths[0]), **metadata})
        config = stated or FramePackConfig.from_state_dict(shapes)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    check_shapes(path, shapes, config)
    return Header(
        path=path, paths=tuple(paths), config=config, entries=entries, quantised=quantised, metadata=metadata
    )


def all_shapes(
    entries: Mapping[str, Entry], quantised: Mapping[str, Quantised]
) -> dict[str, tuple[int, ...]]:
    """The shape of every weight by name."""
    plain = {name: entry.shape for name, entry in entries.items()}
    return {**plain, **{name: weight.shape for name, weight in quantised.items()}}


def strip_prefix(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Entries by diffusers' names; where keys carry a known prefix, what lacks it belongs to other models."""
    prefix = next((prefix for prefix in PREFIXES if any(key.startswith(prefix) for key in entries)), "")
    return {key.removeprefix(prefix): entry for key, entry in entries.items() if key.startswith(prefix)}


def config_metadata(path: Path) -> dict[str, str]:
    """The config.json that diffusers writes beside its weights, in the form of our metadata."""
    file = path.with_name("config.json")
    if not path.name.startswith("diffusion_pytorch_model") or not file.is_file():
        return {}
    return {METADATA_KEY: file.read_text(encoding="utf-8")}


def refuse_other_models(path: Path, entries: Mapping[str, Entry]) -> None:
    """Raises CheckpointError that says what a file is, where it is not a FramePack transformer."""
    tops = {name.partition(".")[0] for name in entries}
    if any(map(LORA.fullmatch, entries)):
        raise CheckpointError(f"{path} is a LoRA, not a model; load it with FramePackLoraLoader")
    if "double_blocks" in tops:
        raise CheckpointError(f"{path} is a HunyuanVideo file in its original layout, not FramePack")
    if not {"context_embedder", "transformer_blocks", "single_transformer_blocks"} & tops:
        raise CheckpointError(
            f"{path} is not a FramePack file: expected keys such as 'transformer_blocks.0.attn.to_q.weight', "
            f"found {', '.join(map(repr, list(entries)[:3])) or 'none'}"
        )
    if "clean_x_embedder" not in tops:
        raise CheckpointError(f"{path} is a HunyuanVideo file, not FramePack: it has no clean_x_embedder")


def refuse_unknown_dtypes(path: Path, entries: Mapping[str, Entry]) -> None:
    """Raises CheckpointError for plain tensors whose numbers are no floats."""
    for name, entry in entries.items():
        if entry.dtype not in DTYPES:
            raise unsupported(path, name, entry.dtype)


def check_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]], config: FramePackConfig) -> None:
    """Raises CheckpointError where names or shapes are not exactly those of the model."""
    refuse_oversized(path, len(shapes), config)
    model = FramePackDiT(config, device="meta")
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    refuse_missing(path, [name for name in expected if name not in shapes])
    unknown = [name for name in shapes if name not in expected]
    if unknown:
        raise CheckpointError(
            f"{path} holds {counted(unknown)} that FramePack does not have: {first(unknown)}"
        )
    wrong = [
        f"{name} {list(shapes[name])} (expected {list(shape)})"
        for name, shape in expected.items()
        if shapes[name] != shape
    ]
    if wrong:
        raise CheckpointError(f"{path} holds {counted(wrong)} of another shape: {first(wrong)}")


def refuse_missing(path: Path, missing: Sequence[str]) -> None:
    """Raises CheckpointError when a checkpoint lacks keys of the model."""
    if missing:
        raise CheckpointError(
            f"{path} lacks {counted(missing)}: {first(missing)}; the file is incomplete, download it again"
        )


def counted(keys: Sequence[str]) -> str:
    """How many keys, in words: 1 key, 2 keys."""
    return f"{len(keys)} {'key' if len(keys) == 1 else 'keys'}"


def refuse_oversized(path: Path, tensors: int, config: FramePackConfig) -> None:
    """Raises CheckpointError for a config that no file of so many tensors can hold, before a model is built of it."""
    for field in ("num_layers", "num_single_layers", "num_refiner_layers"):
        if getattr(config, field) > tensors:
            raise CheckpointError(
                f"{path}: its {field} is {getattr(config, field)}, but the file holds {tensors} tensors; "
                "it is damaged or no FramePack file"
            )


def first(keys: Sequence[str]) -> str:
    """The first five keys, as text for a message."""
    return ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")


def save_dit(
    dit: FramePackDiT, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a transformer and its config (as metadata) to one safetensors file; replaces `path` whole."""
    state_dict = {name: value.detach().contiguous() for name, value in dit.state_dict().items()}
    partial = Path(f"{os.fspath(path)}.partial")
    try:
        save_file(
            state_dict, partial, {**(metadata or {}), "format": "pt", METADATA_KEY: dit.config.to_json()}
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
