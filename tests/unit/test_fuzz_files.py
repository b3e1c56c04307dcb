"""Damaged and hostile files give the pack's own errors and no others: seeded mutations of headers, texts and bytes.

A short run is part of the tests. The long one: FRAMEPACK_FUZZ=20000 python -m pytest tests/unit/test_fuzz_files.py
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from framepack_transitions.models.files.checkpoint import CheckpointError
from framepack_transitions.models.files.loading import load_dit
from framepack_transitions.models.files.lora import Change, convert, parameter_shapes
from framepack_transitions.models.files.lora_file import LoraError, by_module, read_lora_file
from safetensors.torch import save_file

RUNS = int(os.environ.get("FRAMEPACK_FUZZ", "400"))
DTYPES = (
    "F32",
    "F16",
    "BF16",
    "F8_E4M3",
    "F8_E5M2",
    "F8_E8M0",
    "F4",
    "I8",
    "U8",
    "I64",
    "BOOL",
    "F64",
    "C64",
    "X9",
    3,
    None,
)
VALUES = (
    None,
    True,
    -1,
    0,
    3,
    2**40,
    2**80,
    1e308,
    float("nan"),
    "",
    "x",
    "None",
    "[",
    "{}",
    "[]",
    "{",
    "\ud800",
    [],
    {},
    [[]],
    {"a": 1},
)
KEYS = (
    "lora_alpha",
    "ss_network_alpha",
    "lora_adapter_metadata",
    "framepack_config",
    "_quantization_metadata",
    "format",
)
ENDS = (".alpha", ".dora_scale", ".lora_mid.weight", ".lora_magnitude_vector", ".diff", ".diff_b", ".scale_weight", ".weight_scale",
        ".comfy_quant", ".lora_A.weight", ".lora_B.weight", ".hada_w1_a", ".lokr_w1", ".weight", "", ".0", "." * 50)  # fmt: skip


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict[str, Any], numbers: bytes) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + numbers


def shape_of(dice: random.Random, shape: Any) -> list[Any]:
    """Another shape: of as many numbers, or of any."""
    size = prod(side for side in shape if isinstance(side, int))
    return dice.choice(
        [
            [size],
            [1, size],
            [size, 1],
            [0, *shape],
            [*shape, 1],
            [],
            [0],
            shape[::-1],
            [-1],
            [2**62, 4],
            [dice.choice(VALUES)],
        ]
    )


def edit_entry(dice: random.Random, header: dict[str, Any]) -> None:
    key = dice.choice([key for key in header if key != "__metadata__"])
    entry = header[key]
    what = dice.randrange(7)
    if what == 0:
        entry["shape"] = shape_of(dice, entry["shape"])
    elif what == 1:
        entry["dtype"] = dice.choice(DTYPES)
    elif what == 2:
        entry["data_offsets"] = [dice.choice([*entry["data_offsets"], *VALUES]) for _ in range(2)]
    elif what == 3:
        del header[key]
    elif what == 4:
        header[key.rpartition(".")[0] + dice.choice(ENDS)] = header.pop(key)
    elif what == 5:
        header[key + dice.choice(ENDS)] = entry
    else:
        # The same bytes as other numbers.
        start, end = entry["data_offsets"]
        size = end - start if isinstance(start, int) and isinstance(end, int) else 4
        dtype, width = dice.choice(
            [("U8", 1), ("I8", 1), ("F8_E4M3", 1), ("F16", 2), ("BOOL", 1), ("F8_E8M0", 1), ("F64", 8)]
        )
        entry.update(
            dtype=dtype, shape=[max(size // width, 1)] if dice.random() < 0.5 else [size // width, 1]
        )


def edit_metadata(dice: random.Random, header: dict[str, Any]) -> None:
    metadata = header.setdefault("__metadata__", {})
    key = dice.choice([*metadata, *KEYS])
    value = metadata.get(key)
    if isinstance(value, str) and value.startswith("{") and dice.random() < 0.8:
        try:
            fields = json.loads(value)
        except ValueError:
            fields = {}
        if fields and dice.random() < 0.9:
            fields[dice.choice(list(fields))] = dice.choice(VALUES)
        value = json.dumps(fields)
    else:
        value = dice.choice(
            [
                str(dice.choice(VALUES)),
                "[" * 5000,
                "9" * 5000,
                json.dumps({"lora_alpha": dice.choice(VALUES)}),
            ]
        )
    metadata[key] = value if dice.random() < 0.95 else dice.choice(VALUES)


def flip(dice: random.Random, data: bytes) -> bytes:
    """A few bytes changed, mostly in the header."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        changed[dice.randrange(min(len(data), dice.choice([8, 3000, len(data)])))] = dice.randrange(256)
    return bytes(changed)


def mutated(dice: random.Random, data: bytes, has_header: bool) -> bytes:
    """The bytes of a file with one to three changes."""
    if has_header and dice.random() < 0.8:
        header, numbers = split(data)
        for _ in range(dice.randint(1, 3)):
            dice.choice([edit_entry, edit_entry, edit_metadata])(dice, header)
        return joined(header, numbers)
    return dice.choice([flip(dice, data), flip(dice, data), data[: dice.randrange(len(data))], data + b"\0"])


@pytest.fixture(scope="module")
def model(dit_cases: ModuleType) -> Any:
    return dit_cases.make_dit(num_layers=1, num_single_layers=1, num_refiner_layers=1).requires_grad_(False)


def checkpoints(model: Any, quantised_cases: ModuleType, folder: Path) -> Iterator[Path]:
    """A plain file, one in scaled fp8, one in ComfyUI's layouts, one in GGUF."""
    plain = dict(model.state_dict())
    config = {"framepack_config": model.config.to_json()}
    matrices = [name for name, value in plain.items() if value.ndim == 2 and not name.startswith("proj_out.")]
    scaled, comfy = dict(plain), dict(plain)
    for name in matrices:
        module = name.removesuffix(".weight")
        scaled[name] = plain[name].to(torch.float8_e4m3fn)
        scaled[f"{module}.scale_weight"] = torch.ones(())
        comfy[name] = plain[name].char()
        comfy[f"{module}.weight_scale"] = torch.ones(plain[name].shape[0], 1)
        comfy[f"{module}.comfy_quant"] = torch.tensor(
            list(b'{"format": "int8_tensorwise"}'), dtype=torch.uint8
        )
    for name, tensors in {"plain": plain, "scaled": scaled, "comfy": comfy}.items():
        save_file(tensors, folder / f"{name}.safetensors", config)
        yield folder / f"{name}.safetensors"
    if importlib.util.find_spec("gguf"):
        quantised_cases.write_gguf(folder / "model.gguf", model, "Q8_0")
        yield folder / "model.gguf"


def loras(lora_cases: ModuleType, config: Any, folder: Path) -> Iterator[Path]:
    """LoRAs in several styles, with alphas in tensors and in metadata."""
    layers = dict(list(lora_cases.original_layers(config).items())[-6:])
    factors = lora_cases.make_factors(layers)
    adapter = {
        "lora_adapter_metadata": json.dumps(
            {"transformer.lora_alpha": 2, "transformer.alpha_pattern": {"linear1": 3}}
        )
    }
    for style, metadata in (
        ("kohya", {"ss_network_alpha": "1"}),
        ("transformer", adapter),
        ("comfyui_bare", {"lora_alpha": "1"}),
    ):
        tensors = lora_cases.ORIGINAL_STYLES[style].write(factors, 2.0 if style == "comfyui_bare" else None)
        save_file(tensors, folder / f"{style}.safetensors", metadata)
        yield folder / f"{style}.safetensors"
    name, (rows, columns) = next(iter((name, shape) for name, shape in layers.items() if len(shape) == 2))
    tensors = {f"{name}.hada_w1_a": torch.ones(rows, 2), f"{name}.hada_w1_b": torch.ones(2, columns),
               f"{name}.hada_w2_a": torch.ones(rows, 2), f"{name}.hada_w2_b": torch.ones(2, columns),
               f"{name}.alpha": torch.tensor(1.0), f"{name}.dora_scale": torch.ones(rows, 1)}  # fmt: skip
    save_file(tensors, folder / "loha.safetensors")
    yield folder / "loha.safetensors"


def fuzz(
    files: list[Path], read: Callable[[Path, Path], Any], own: type[Exception], runs: int, folder: Path
) -> None:
    """Reads mutated files, each beside the whole one; whatever comes but the pack's own error, fails with the seed."""
    sources = [(path, path.read_bytes()) for path in files]
    refused = 0
    for seed in range(runs):
        dice = random.Random(seed)
        path, data = sources[seed % len(sources)]
        target = folder / f"mutated{path.suffix}"
        target.write_bytes(mutated(dice, data, path.suffix == ".safetensors"))
        try:
            read(path, target)
        except own as error:
            refused += 1
            assert len(str(error)) < 700, f"seed {seed}: {str(error)[:300]}"
        except Exception as error:
            raise AssertionError(f"seed {seed} of {path.name}: {type(error).__name__}: {error}") from error
    assert runs / 3 < refused < runs


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same bytes as the same numbers."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return bool(one.reshape(-1).view(torch.uint8).equal(other.reshape(-1).view(torch.uint8)))


def untouched_modules(path: Path, target: Path) -> set[str]:
    """Modules of a checkpoint of which a mutated copy has the same tensors and no others; none if the metadata differs."""
    (header, numbers), (changed, others) = split(path.read_bytes()), split(target.read_bytes())
    if header.get("__metadata__") != changed.get("__metadata__"):
        return set()

    def stored(header: dict[str, Any], numbers: bytes, key: str) -> Any:
        return header.get(key) and (header[key], numbers[slice(*header[key]["data_offsets"])])

    keys = (header.keys() | changed.keys()) - {"__metadata__"}
    touched = {key for key in keys if stored(header, numbers, key) != stored(changed, others, key)}
    modules = {key.rpartition(".")[0] for key in header if key != "__metadata__"}
    return {name for name in modules if not any(key.startswith(f"{name}.") for key in touched)}


def untouched_tensors(
    whole: dict[str, torch.Tensor], mutated: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The tensors of those modules of a LoRA of which a mutated copy has the same tensors and no others."""
    (modules, _), (others, _) = by_module(whole), by_module(mutated)
    same = [
        keys
        for name, keys in modules.items()
        if others.get(name) == keys and all(alike(whole[key], mutated[key]) for key in keys.values())
    ]
    return {key: whole[key] for keys in same for key in keys.values()}


def test_mutated_checkpoints_are_refused_or_load_what_was_not_touched(
    model: Any, quantised_cases: ModuleType, tmp_path: Path
) -> None:
    files = list(checkpoints(model, quantised_cases, tmp_path))
    whole = {path: load_dit(path).state_dict() for path in files}

    def read(path: Path, target: Path) -> None:
        loaded = load_dit(target).state_dict()
        assert loaded.keys() == whole[path].keys()
        for module in untouched_modules(path, target) if path.suffix == ".safetensors" else ():
            names = [name for name in loaded if name.rpartition(".")[0] == module]
            assert all(alike(loaded[name], whole[path][name]) for name in names), module

    fuzz(files, read, CheckpointError, RUNS // 2, tmp_path)


def test_mutated_loras_are_refused_or_change_the_rest_as_before(
    model: Any, lora_cases: ModuleType, tmp_path: Path
) -> None:
    shapes = parameter_shapes(model)

    def differences(change: Change) -> dict[str, torch.Tensor]:
        return {} if "dora_scale" in change.parts else change.differences(shapes)

    def read(path: Path, target: Path) -> None:
        tensors = read_lora_file(target)[0]
        found = [(change.host_tensors(), differences(change)) for change in convert(tensors, shapes).changes]
        assert all(torch.isfinite(value).all() for _, made in found for value in made.values())
        untouched = untouched_tensors(read_lora_file(path)[0], tensors)
        for change in convert(untouched, shapes).changes if untouched else ():
            expected = (change.host_tensors(), differences(change))
            assert any(all(map(same_tensors, made, expected)) for made in found), change.module

    fuzz(list(loras(lora_cases, model.config, tmp_path)), read, LoraError, RUNS - RUNS // 2, tmp_path)


def same_tensors(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(alike(some[name], others[name]) for name in some)
