"""Checkpoints in quantised layouts predict what a model of the numbers that they stand for predicts."""

from __future__ import annotations

import builtins
import json
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.files import gguf_file
from framepack_transitions.models.files.checkpoint import CheckpointError
from framepack_transitions.models.files.loading import inspect_checkpoint, load_dit
from framepack_transitions.models.files.lora import convert, parameter_shapes
from framepack_transitions.models.files.quantised import Packed, store
from framepack_transitions.models.layers.gguf_packings import GGUF_BLOCKS, unpack_gguf
from framepack_transitions.models.layers.operations import default
from framepack_transitions.models.layers.packings import unpack
from framepack_transitions.models.layers.quantised import quantised_operations
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.tiny.bundle import load_tiny
from safetensors.torch import save_file
from torch import Tensor

Weights = dict[str, Tensor]
FP8 = torch.float8_e4m3fn


@pytest.fixture(scope="module")
def dit(dit_cases: ModuleType) -> FramePackDiT:
    return dit_cases.make_dit().requires_grad_(False)


def of_weights(dit: FramePackDiT, weights: Weights) -> FramePackDiT:
    other = FramePackDiT(dit.config)
    other.load_state_dict(weights)
    return other.eval()


@pytest.fixture
def write(tmp_path: Path, dit: FramePackDiT) -> Callable[..., Path]:
    def write_file(tensors: Weights, **metadata: str) -> Path:
        save_file(
            tensors, tmp_path / "model.safetensors", {"framepack_config": dit.config.to_json(), **metadata}
        )
        return tmp_path / "model.safetensors"

    return write_file


@pytest.mark.parametrize(
    "name", ["scaled_fp8", "musubi_rows", "musubi_blocks", "comfy_fp8", "comfy_int8", "mxfp8", "nvfp4"]
)
def test_a_quantised_file_predicts_as_the_numbers_that_it_stands_for(
    name: str,
    write: Callable[..., Path],
    dit: FramePackDiT,
    dit_cases: ModuleType,
    quantised_cases: ModuleType,
) -> None:
    stored, plain = quantised_cases.quantise(dit, name)
    path = write({f"model.diffusion_model.{key}": value for key, value in stored.items()})
    loaded, inputs = load_dit(path, dtype=torch.float32), dit_cases.make_inputs()
    with torch.inference_mode():
        found, expected, original = loaded(**inputs), of_weights(dit, plain)(**inputs), dit(**inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert 0 < dit_cases.relative_error(found, original) < quantised_cases.LAYOUTS[name][1]
    # Nothing but the quantised weights themselves was kept.
    assert loaded.transformer_blocks[0].attn.to_q.weight.dtype.itemsize == 1
    assert inspect_checkpoint(path).dtype == torch.bfloat16 and inspect_checkpoint(path).packings
    assert inspect_checkpoint(path).parameters == sum(value.numel() for value in plain.values())


def test_scaled_files_with_a_marker_or_settings_in_the_header_are_the_same(
    write: Callable[..., Path], dit: FramePackDiT, quantised_cases: ModuleType
) -> None:
    stored, plain = quantised_cases.quantise(dit, "comfy_fp8")
    bare = {name: value for name, value in stored.items() if not name.endswith("comfy_quant")}
    layers = {
        name.removesuffix(".weight"): {"format": "float8_e4m3fn"} for name in quantised_cases.matrices(plain)
    }
    header = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    old, _ = quantised_cases.quantise(dit, "scaled_fp8")
    for path in (write(bare, **header), write({**old, "scaled_fp8": torch.zeros(2).to(FP8)})):
        layer: Any = load_dit(path).transformer_blocks[0].attn.to_q
        torch.testing.assert_close(
            layer.unpacked(torch.zeros(1)), plain["transformer_blocks.0.attn.to_q.weight"], rtol=1e-6, atol=0
        )


def test_weights_are_cast_to_what_is_computed_in_and_patches_come_after(
    write: Callable[..., Path], dit: FramePackDiT, quantised_cases: ModuleType
) -> None:
    stored, plain = quantised_cases.quantise(dit, "comfy_int8")
    layer: Any = load_dit(write(stored)).transformer_blocks[0].attn.to_q
    weight, x = plain["transformer_blocks.0.attn.to_q.weight"], torch.ones(1, dtype=torch.bfloat16)
    assert torch.equal(layer.unpacked(x), weight.bfloat16())
    layer.weight_function = [lambda value: value + 1, lambda value: 2 * value]
    assert torch.equal(layer.unpacked(x.float()), 2 * (weight + 1))


def text(data: bytes) -> Tensor:
    return torch.tensor(list(data), dtype=torch.uint8)


QUERY = "transformer_blocks.0.attn.to_q"
DAMAGED: dict[str, tuple[str, dict[str, Tensor | None], str]] = {
    "no scale": ("nvfp4", {"weight_scale_2": None}, "U8 with scale, expected nvfp4"),
    "other numbers": (
        "comfy_int8",
        {"weight": torch.zeros(64, 64)},
        "F32 with scale, expected int8_tensorwise",
    ),
    "scales of another shape": (
        "comfy_int8",
        {"weight_scale": torch.ones(5, 1)},
        r"the scales .*\[5, 1\].* do not fit",
    ),
    "tiles of another shape": ("nvfp4", {"weight_scale": torch.ones(64, 4).to(FP8)}, "do not fit"),
    "another shape": ("comfy_int8", {"weight": torch.zeros(64, 32).char()}, r"of another shape.*\[64, 32\]"),
    "no weight": ("scaled_fp8", {"weight": None}, f"the scales of {QUERY}.weight, but not the weight"),
    "another format": (
        "comfy_int8",
        {"comfy_quant": text(b'{"format": "svdquant"}')},
        "not supported.*svdquant",
    ),
    "no format": (
        "comfy_int8",
        {"comfy_quant": torch.tensor([123], dtype=torch.uint8)},
        "comfy_quant is not JSON",
    ),
    "no object": (
        "comfy_int8",
        {"comfy_quant": torch.tensor([52], dtype=torch.uint8)},
        "comfy_quant is no JSON object",
    ),
    "smoothing": ("comfy_int8", {"pre_quant_scale": torch.ones(64)}, "not supported.*pre_quant_scale"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_and_unknown_layouts_are_errors(
    name: str, write: Callable[..., Path], dit: FramePackDiT, quantised_cases: ModuleType
) -> None:
    layout, changes, message = DAMAGED[name]
    stored, _ = quantised_cases.quantise(dit, layout)
    changed = {**stored, **{f"{QUERY}.{end}": value for end, value in changes.items()}}
    with pytest.raises(CheckpointError, match=f"model.safetensors.*{message}"):
        load_dit(write({key: value for key, value in changed.items() if value is not None}))


def published() -> dict[str, tuple[int, ...]]:
    """The shapes of the published model."""
    state = FramePackDiT(FramePackConfig(), device="meta").state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def write_sparse(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], int]]) -> None:
    """A safetensors file of (dtype, shape, bytes) whose numbers are a hole that takes no disk."""
    header, end = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def test_a_file_of_thirteen_billion_weights_in_fp8_loads_on_the_meta_device(tmp_path: Path) -> None:
    tensors: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for name, shape in published().items():
        scaled = len(shape) == 2 and not name.startswith("proj_out.")
        tensors[name] = ("F8_E4M3", shape, prod(shape)) if scaled else ("BF16", shape, 2 * prod(shape))
        if scaled:
            tensors[name.replace("weight", "scale_weight")] = ("F32", (), 4)
    write_sparse(tmp_path / "model.safetensors", tensors)
    header = inspect_checkpoint(tmp_path / "model.safetensors")
    assert header.config == FramePackConfig() and header.packings == {"float8_e4m3fn"}
    assert header.parameters > 12e9 and header.dtype == torch.bfloat16
    # Its layers take it too: on the meta device, where a weight has no numbers.
    dit: Any = FramePackDiT(
        header.config, dtype=torch.bfloat16, device="meta", operations=quantised_operations(default)
    )
    numbers = {"F8_E4M3": FP8, "BF16": torch.bfloat16, "F32": torch.float32}
    made = {
        key: torch.empty(shape, dtype=numbers[dtype], device="meta")
        for key, (dtype, shape, _) in tensors.items()
    }
    packed = {
        name: Packed(weight.packing, {part: made[entry.key] for part, entry in weight.entries.items()}, {})
        for name, weight in header.quantised.items()
    }
    store(dit, {name: made[name] for name in header.entries}, packed, mixed_precision=False)
    layer = dit.single_transformer_blocks[39].proj_mlp
    assert (layer.packing, layer.weight.dtype, layer.weight.is_meta) == ("float8_e4m3fn", FP8, True)


def test_loras_change_quantised_weights_as_they_are_unpacked(
    write: Callable[..., Path], dit: FramePackDiT, lora_cases: ModuleType, quantised_cases: ModuleType
) -> None:
    stored, plain = quantised_cases.quantise(dit, "nvfp4")
    layers = {QUERY: tuple(plain[f"{QUERY}.weight"].shape), "proj_out": tuple(plain["proj_out.weight"].shape)}
    file = lora_cases.DIFFUSERS_STYLES["diffusers"].write(lora_cases.make_factors(layers))
    model = PlainModel(load_dit(write(stored), dtype=torch.float32), 1.0)
    changes = convert(file, parameter_shapes(model.model.diffusion_model)).changes
    other, x = model.clone(), torch.zeros(1)
    for change in changes:
        for name, value in change.differences(parameter_shapes(model.model.diffusion_model)).items():
            for strength in (0.5, 0.25):
                other.add_patches({f"diffusion_model.{name}": value}, strength)
            plain[name] = plain[name] + 0.75 * value
    changed: Any = other.model.diffusion_model
    torch.testing.assert_close(changed.get_submodule(QUERY).unpacked(x), plain[f"{QUERY}.weight"])
    torch.testing.assert_close(changed.proj_out.weight, plain["proj_out.weight"])
    untouched: Any = model.model.diffusion_model.get_submodule(QUERY)
    assert not getattr(untouched, "weight_function", ())


# GGUF


def test_blocks_of_gguf_are_what_the_package_makes_of_them() -> None:
    gguf = pytest.importorskip("gguf")
    generator = np.random.default_rng(0)
    for name, block in GGUF_BLOCKS.items():
        kind = gguf.GGMLQuantizationType[name]
        assert gguf.GGML_QUANT_SIZES[kind] == (block.numbers, block.size)
        stored = generator.integers(0, 256, (8, 4 * block.size), dtype=np.uint8)
        with np.errstate(all="ignore"):
            expected = gguf.dequantize(stored, kind)
        np.testing.assert_array_equal(unpack_gguf(name, torch.from_numpy(stored)).numpy(), expected)


@pytest.mark.parametrize("packing", ["Q8_0", "Q5_1", "Q4_0"])
def test_a_gguf_file_predicts_as_the_numbers_that_it_stands_for(
    packing: str, tmp_path: Path, dit: FramePackDiT, dit_cases: ModuleType, quantised_cases: ModuleType
) -> None:
    pytest.importorskip("gguf")
    plain = quantised_cases.write_gguf(tmp_path / "model.gguf", dit, packing)
    loaded, inputs = load_dit(tmp_path / "model.gguf", dtype=torch.float32), dit_cases.make_inputs()
    assert loaded.config == dit.config
    with torch.inference_mode():
        found, expected, original = loaded(**inputs), of_weights(dit, plain)(**inputs), dit(**inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert 0 < dit_cases.relative_error(found, original) < 0.3
    assert inspect_checkpoint(tmp_path / "model.gguf").packings == {packing}


def section(dit: FramePackDiT) -> Tensor:
    """The latents of one section of three latent frames in two steps."""
    generator = torch.Generator().manual_seed(0)
    text = TextConditioning(
        torch.randn(1, 5, dit.config.text_embed_dim, generator=generator),
        torch.randn(1, dit.config.pooled_projection_dim, generator=generator),
    )
    start = torch.randn(1, 16, 1, 8, 8, generator=generator)
    (planned,) = plan_sections("f1", 1, 3)
    sections = [planned.with_prompt(Prompt(start=0.0, text="", conditioning=text))]
    inputs = SampleInputs(start=start, has_start=True, negative=text)
    with torch.inference_mode():
        return sample_sections(
            PlainDriver(PlainModel(dit, 1.0)), sections, inputs, SampleSettings(window=3, steps=2)
        )[0]


# The tiny model's matrices mostly have 192 columns, which K-quants cannot hold; of the other one's they hold all.
WIDE = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 128, "rope_axes_dim": (16, 56, 56),
        "text_embed_dim": 256, "pooled_projection_dim": 256, "image_proj_dim": 256}  # fmt: skip


@pytest.mark.parametrize(
    ("wide", "shapes"), [(False, {(192, 256), (192, 768)}), (True, None)], ids=["tiny", "wide"]
)
def test_a_video_of_k_quants_is_that_of_the_numbers_that_they_stand_for(
    wide: bool, shapes: set[tuple[int, int]] | None, tmp_path: Path, dit_cases: ModuleType,
    quantised_cases: ModuleType,
) -> None:  # fmt: skip
    pytest.importorskip("gguf")
    dit = dit_cases.make_dit(**WIDE).requires_grad_(False) if wide else load_tiny().dit.float()
    path, packings = tmp_path / "model.gguf", ("Q4_K", "Q5_K", "Q6_K", "Q8_0")
    plain = quantised_cases.write_gguf(path, dit, *packings)
    quantised = inspect_checkpoint(path).quantised.values()
    assert {weight.packing for weight in quantised} == set(packings)
    in_blocks_of_256 = {weight.shape for weight in quantised if weight.packing != "Q8_0"}
    assert shapes is None or in_blocks_of_256 == shapes
    found, expected = section(load_dit(path, dtype=torch.float32)), section(of_weights(dit, plain))
    assert dit_cases.relative_error(found, expected) < 1e-4
    assert 0 < dit_cases.relative_error(found, section(dit)) < 0.1


def test_a_gguf_file_of_thirteen_billion_weights_is_checked_whole(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path, q4, q8, f16 = (
        tmp_path / "model.gguf",
        *(gguf.GGMLQuantizationType[name] for name in ("Q4_K", "Q8_0", "F16")),
    )
    writer = gguf.GGUFWriter(path, "framepack")
    for name, shape in published().items():
        kind = f16 if len(shape) != 2 or name.startswith("proj_out.") else q8 if shape[1] % 256 else q4
        stored = gguf.quant_shape_to_byte_shape(shape, kind) if kind != f16 else shape
        size = prod(stored) * (2 if kind == f16 else 1)
        if len(shape) > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(shape))
            stored = (shape[0], prod(shape[1:]))
        dtype = np.dtype(np.float16 if kind == f16 else np.uint8)
        writer.add_tensor_info(name, stored, dtype, size, raw_dtype=None if kind == f16 else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(9_000_000_000)
    header = inspect_checkpoint(path)
    assert header.config == FramePackConfig() and header.packings == {"Q4_K", "Q8_0"}
    assert header.parameters > 12e9


def test_damaged_gguf_files_are_errors(
    tmp_path: Path, dit: FramePackDiT, quantised_cases: ModuleType
) -> None:
    pytest.importorskip("gguf")
    path = tmp_path / "model.gguf"
    quantised_cases.write_gguf(path, dit, "Q8_0", **{"norm_out.linear.bias": np.zeros(7, np.float32)})
    with pytest.raises(
        CheckpointError, match=r"model.gguf holds 1 key of another shape: norm_out.linear.bias \[7\]"
    ):
        load_dit(path)
    quantised_cases.write_gguf(path, dit, "Q8_0")
    whole = path.read_bytes()
    for length in (len(whole) - 1000, len(whole) // 2, 500, 30, 4, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"model\.gguf: not a whole GGUF file.*truncated"):
            load_dit(path)


def test_fields_are_read_by_older_versions_of_the_package_too(
    tmp_path: Path, dit: FramePackDiT, quantised_cases: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf")
    quantised_cases.write_gguf(tmp_path / "model.gguf", dit, "Q8_0")
    # Added in 0.16.
    monkeypatch.delattr(gguf.ReaderField, "contents", raising=False)
    header = inspect_checkpoint(tmp_path / "model.gguf")
    assert header.config == dit.config and header.metadata["general.architecture"] == "framepack"
    kernel = dit.clean_x_embedder.proj_4x.weight.shape
    assert header.entries["clean_x_embedder.proj_4x.weight"].shape == kernel


def test_a_package_that_does_not_work_is_not_taken_for_a_damaged_file(
    tmp_path: Path, dit: FramePackDiT, quantised_cases: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf")
    quantised_cases.write_gguf(tmp_path / "model.gguf", dit, "Q8_0")

    class Failing:
        def __init__(self, *_: Any) -> None:
            raise AttributeError("newbyteorder was removed")  # as 0.10 with numpy 2

    monkeypatch.setattr(gguf, "GGUFReader", Failing)
    with pytest.raises(
        CheckpointError, match=r"does not work here: run `pip install --upgrade gguf`.*newbyteorder"
    ):
        load_dit(tmp_path / "model.gguf")


@pytest.mark.parametrize("inner", [0, 8, 9], ids=["numbers", "texts", "lists"])
def test_a_list_that_is_announced_longer_than_the_file_is_refused_at_its_end(
    tmp_path: Path, inner: int
) -> None:
    """A file of 65 bytes, written by hand, that announces 2^40 elements of a field."""
    pytest.importorskip("gguf")
    header = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)  # magic, version, tensors, fields
    field = struct.pack("<Q1sIIQ", 1, b"a", 9, inner, 2**40)  # name, a list, of what, how many
    (tmp_path / "model.gguf").write_bytes(header + field + bytes(16))
    with pytest.raises(CheckpointError, match=r"not a whole GGUF file \(what should be at byte \d+ is not"):
        load_dit(tmp_path / "model.gguf")


def test_without_the_gguf_package_its_absence_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "gguf":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"model.gguf: .*needs the gguf package.*pip install gguf"):
        load_dit(tmp_path / "model.gguf")
    with pytest.raises(gguf_file.GgufError):
        gguf_file.gguf_reader()


def test_every_packing_is_known_by_its_name() -> None:
    with pytest.raises(KeyError):
        unpack("unheard of", {})
