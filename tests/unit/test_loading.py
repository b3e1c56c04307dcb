"""Checkpoints of every form in use load to the same model; anything else is an error that names the file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.files import loading
from framepack_transitions.models.files.loading import (
    CheckpointError,
    inspect_checkpoint,
    load_dit,
    read_checkpoint,
    save_dit,
)
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def dit(dit_cases: ModuleType) -> FramePackDiT:
    return dit_cases.make_dit().requires_grad_(False)


@pytest.fixture
def weights(dit: FramePackDiT) -> Weights:
    return dict(dit.state_dict())


@pytest.fixture
def write(tmp_path: Path, dit: FramePackDiT) -> Callable[..., Path]:
    """Writes tensors as a file that carries the config of the small model."""

    def write_file(tensors: Weights, name: str = "model.safetensors", **metadata: str) -> Path:
        save_file(tensors, tmp_path / name, {"framepack_config": dit.config.to_json(), **metadata})
        return tmp_path / name

    return write_file


@pytest.fixture
def shards(write: Callable[..., Path], weights: Weights) -> list[Path]:
    names = list(weights)
    parts = (names[0::3], names[1::3], names[2::3])
    return [
        write({key: weights[key] for key in part}, f"diffusion_pytorch_model-{i:05d}-of-00003.safetensors")
        for i, part in enumerate(parts, start=1)
    ]


@pytest.fixture
def index(shards: list[Path]) -> Path:
    weight_map = {}
    for shard in shards:
        with safe_open(shard, "pt") as file:
            weight_map.update(dict.fromkeys(file.keys(), shard.name))
    path = shards[0].parent / "diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}), encoding="utf-8")
    return path


def same_weights(loaded: FramePackDiT, expected: Weights) -> bool:
    state = loaded.state_dict()
    return state.keys() == expected.keys() and all(
        state[name].equal(value) for name, value in expected.items()
    )


def test_a_saved_transformer_comes_back_with_its_config(
    dit: FramePackDiT, tmp_path: Path, dit_cases: ModuleType
) -> None:
    save_dit(dit, tmp_path / "model.safetensors", {"note": "kept"})
    checkpoint = read_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.config == dit.config and checkpoint.metadata["note"] == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    loaded = load_dit(tmp_path / "model.safetensors")
    assert same_weights(loaded, dit.state_dict())
    inputs = dit_cases.make_inputs()
    # Not bit for bit: a file's bytes lie elsewhere in memory, and kernels depend on that.
    torch.testing.assert_close(loaded(**inputs), dit(**inputs))
    assert not loaded.training and not any(value.requires_grad for value in loaded.parameters())


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model.", "transformer."])
def test_prefixes_in_use_are_accepted(prefix: str, write: Callable[..., Path], weights: Weights) -> None:
    tensors = {prefix + name: value for name, value in weights.items()}
    if prefix:
        tensors["vae.decoder.weight"] = torch.zeros(3)
    assert same_weights(load_dit(write(tensors)), weights)


def test_any_part_of_a_sharded_set_stands_for_all_of_it(
    index: Path, shards: list[Path], weights: Weights
) -> None:
    for path in (index.parent, index, *shards):
        assert same_weights(load_dit(path), weights)
    index.unlink()
    for path in (index.parent, shards[1]):
        assert same_weights(load_dit(path), weights)
        assert inspect_checkpoint(path).paths == tuple(shards)


def test_what_diffusers_saves_loads(dit: FramePackDiT, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    fields = json.loads(dit.config.to_json())
    model = diffusers.HunyuanVideoFramepackTransformer3DModel(**fields)
    model.load_state_dict(dit.state_dict())
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = load_dit(tmp_path)
    assert loaded.config == dit.config and same_weights(loaded, dit.state_dict())


STORED = (torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn, torch.float8_e5m2)


@pytest.mark.parametrize("stored", STORED)
def test_every_storage_is_kept_or_cast(
    stored: torch.dtype, write: Callable[..., Path], weights: Weights, dit_cases: ModuleType
) -> None:
    path = write({name: value.to(stored) for name, value in weights.items()})
    kept = load_dit(path)
    assert kept.dtype == inspect_checkpoint(path).dtype == stored
    assert kept.x_embedder.proj.weight.dtype == stored and kept.proj_out.weight.dtype == torch.float32
    cast = load_dit(path, dtype=torch.bfloat16)
    assert cast.dtype == torch.bfloat16
    assert {value.dtype for value in cast.parameters()} == {torch.bfloat16, torch.float32}
    inputs = dit_cases.make_inputs()
    inputs["x"] = inputs["x"].bfloat16()
    with torch.inference_mode():
        assert dit_cases.relative_error(kept(**inputs), cast(**inputs)) < 1e-2


def test_a_file_of_mixed_dtypes_is_what_most_of_it_is(write: Callable[..., Path], weights: Weights) -> None:
    fp8 = {name: value.to(torch.float8_e4m3fn) for name, value in weights.items() if value.ndim > 1}
    path = write({**weights, **fp8})
    loaded = load_dit(path)
    assert loaded.dtype == torch.float8_e4m3fn
    assert loaded.x_embedder.proj.bias.dtype == torch.float32


def test_a_truncated_file_is_an_error(write: Callable[..., Path], weights: Weights) -> None:
    path = write(weights)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 100, 4, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"model\.safetensors.*truncated"):
            load_dit(path)


def test_missing_keys_are_counted_and_the_first_five_named(
    write: Callable[..., Path], weights: Weights
) -> None:
    missing = [
        name for name in weights if ".to_q." in name or ".norm_k." in name or "x_embedder.proj." in name
    ]
    path = write({name: value for name, value in weights.items() if name not in missing})
    with pytest.raises(CheckpointError) as error:
        load_dit(path)
    assert str(path) in str(error.value) and f"lacks {len(missing)} keys" in str(error.value)
    assert all(name in str(error.value) for name in missing[:5]) and missing[5] not in str(error.value)


def test_missing_keys_are_named_without_metadata_too(tmp_path: Path) -> None:
    config = FramePackConfig(
        num_attention_heads=1, num_layers=1, num_single_layers=1, num_refiner_layers=1,
        text_embed_dim=8, pooled_projection_dim=8, image_proj_dim=8,
    )  # fmt: skip
    dit = FramePackDiT(config, dtype=torch.bfloat16)
    tensors = dict(dit.state_dict())
    save_file(tensors, tmp_path / "whole.safetensors")
    assert same_weights(load_dit(tmp_path / "whole.safetensors"), tensors)
    for name in ("x_embedder.proj.weight", "context_embedder.proj_in.weight", "proj_out.weight",
                 "transformer_blocks.0.attn.norm_q.weight", "image_projection.down.bias"):  # fmt: skip
        save_file(
            {key: value for key, value in tensors.items() if key != name}, tmp_path / "part.safetensors"
        )
        with pytest.raises(CheckpointError, match=f"part.safetensors lacks 1 key: {name};"):
            load_dit(tmp_path / "part.safetensors")


def test_wrong_shapes_and_unknown_keys_are_errors(write: Callable[..., Path], weights: Weights) -> None:
    path = write({**weights, "x_embedder.proj.weight": torch.zeros(64, 16, 1, 4, 4)})
    with pytest.raises(
        CheckpointError, match=r"1 key of another shape: x_embedder.proj.weight \[64, 16, 1, 4, 4\]"
    ):
        load_dit(path)
    with pytest.raises(CheckpointError, match="holds 1 key that FramePack does not have: adapter.weight"):
        load_dit(write({**weights, "adapter.weight": torch.zeros(1)}))


def without_clean_embedder(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if "clean_x_embedder" not in name}


OTHER_FILES: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "HunyuanVideo, diffusers": (without_clean_embedder, "is a HunyuanVideo file, not FramePack"),
    "HunyuanVideo, original": (
        lambda _: {"double_blocks.0.img_attn_qkv.weight": torch.zeros(1)},
        "is a HunyuanVideo file in its original layout, not FramePack",
    ),
    "LoRA": (lambda _: {"transformer.blocks.0.attn.lora_A.weight": torch.zeros(1)}, "is a LoRA, not a model"),
    "something else": (
        lambda _: {"conv_in.weight": torch.zeros(1)},
        "is not a FramePack file.*'conv_in.weight'",
    ),
    "nothing": (lambda _: {}, "is not a FramePack file.*found none"),
    "bitsandbytes": (
        lambda weights: {**weights, "proj_out.weight.absmax": torch.zeros(2)},
        "is quantised in a layout that is not supported.*proj_out.weight.absmax",
    ),
    "scales": (
        lambda weights: {**weights, "proj_out.scale_weight": torch.tensor(1.0)},
        "is quantised in a layout that is not supported.*proj_out.weight', F32, with a scale",
    ),
    "integers": (
        lambda weights: {**weights, "proj_out.weight": torch.zeros(64, 64, dtype=torch.int8)},
        "is quantised in a layout that is not supported.*I8",
    ),
}


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_other_files_are_called_what_they_are(
    name: str, prefix: str, write: Callable[..., Path], weights: Weights
) -> None:
    change, message = OTHER_FILES[name]
    path = write({prefix + key: value for key, value in change(weights).items()}, "other.safetensors")
    with pytest.raises(CheckpointError, match=f"other.safetensors {message}"):
        load_dit(path)


@pytest.mark.parametrize("fields", [
    {"num_layers": 10**7},
    {"num_single_layers": 10**18},
    {"num_refiner_layers": 10**7},
    {"num_attention_heads": 10**12},
    {"mlp_ratio": 1e300},
])  # fmt: skip
def test_a_config_far_larger_than_its_file_is_refused_at_once(
    write: Callable[..., Path], weights: Weights, dit: FramePackDiT, fields: dict[str, Any]
) -> None:
    path = write(weights, framepack_config=json.dumps({**json.loads(dit.config.to_json()), **fields}))
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=f"model.safetensors.*{next(iter(fields))}"):
        load_dit(path)
    assert time.perf_counter() - start < 1


def test_so_is_a_key_with_a_far_too_large_number(tmp_path: Path, weights: Weights) -> None:
    save_file({**weights, "transformer_blocks.9999999.ff.net.2.bias": torch.zeros(1)}, tmp_path / "a.safetensors",
              {"framepack_config": "{}"})  # fmt: skip
    with pytest.raises(CheckpointError, match="a.safetensors"):
        load_dit(tmp_path / "a.safetensors")
    save_file({"clean_x_embedder.proj.weight": torch.zeros(1), "transformer_blocks.9999999.attn.norm_q.weight":
               torch.zeros(128)}, tmp_path / "a.safetensors")  # fmt: skip
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="a.safetensors.*num_layers"):
        load_dit(tmp_path / "a.safetensors")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(("start", "what"), [
    (b"GGUF", "is a GGUF file"),
    (b"PK\x03\x04", "is a PyTorch file"),
    (b"version https://git-lfs.github.com/spec/v1", "is the pointer of a Git LFS file"),
    (b"<!DOCTYPE html>", "is a web page"),
])  # fmt: skip
def test_files_of_another_kind_are_called_what_they_are_by_their_content(
    tmp_path: Path, start: bytes, what: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(start + bytes(100))
    with pytest.raises(CheckpointError, match=f"model.safetensors {what}.*whatever its name says"):
        load_dit(tmp_path / "model.safetensors")


def test_a_config_that_cannot_be_is_an_error_of_the_file(
    write: Callable[..., Path], weights: Weights
) -> None:
    for text in ("{", '{"layers": 3}', '{"rope_axes_dim": 7}', '{"qk_norm": "none"}', '{"num_layers": "3"}',
                 '{"num_layers": -1}', '{"mlp_ratio": NaN}', '{"rope_axes_dim": [1e400, "a", null]}', '{"rope_theta": null}',
                 '{"num_attention_heads": 2.5}', '{"guidance_embeds": 3}', "[" * 100_000):  # fmt: skip
        with pytest.raises(CheckpointError, match="model.safetensors: "):
            load_dit(write(weights, framepack_config=text))


def test_incomplete_sets_are_errors(index: Path, shards: list[Path], tmp_path: Path) -> None:
    shards[1].unlink()
    for path in (index, shards[0], tmp_path):
        with pytest.raises(CheckpointError, match=r"1 of 3 shards are missing \(.*-00002-of-00003"):
            load_dit(path)
    index.unlink()
    with pytest.raises(CheckpointError, match="1 of 3 shards are missing"):
        load_dit(shards[0])


def test_keys_that_only_the_index_knows_are_missing(index: Path) -> None:
    content = json.loads(index.read_text(encoding="utf-8"))
    content["weight_map"]["transformer_blocks.7.ff.net.2.bias"] = next(iter(content["weight_map"].values()))
    index.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="lacks 1 key: transformer_blocks.7.ff.net.2.bias"):
        load_dit(index)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": "../b.safetensors"}}']
)
def test_a_broken_index_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="index"):
        load_dit(path)


def test_paths_that_are_no_checkpoint_are_errors(
    tmp_path: Path, write: Callable[..., Path], weights: Weights
) -> None:
    with pytest.raises(CheckpointError, match="absent.safetensors: there is no such file"):
        load_dit(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match="found none"):
        load_dit(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"PK")
    with pytest.raises(
        CheckpointError, match=r"model.pt is a PyTorch file.*: expected a \.safetensors or \.gguf"
    ):
        load_dit(tmp_path / "model.pt")
    for name in ("a.safetensors", "b.safetensors"):
        write(weights, name)
    with pytest.raises(CheckpointError, match="found a.safetensors, b.safetensors; name the file"):
        load_dit(tmp_path)


def test_no_weight_is_read_from_a_file_that_is_refused(
    write: Callable[..., Path], weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(loading, "open_file", read)
    with pytest.raises(CheckpointError, match="lacks"):
        load_dit(write({name: value for name, value in weights.items() if ".to_k." not in name}))


def test_saving_leaves_the_old_file_when_it_fails(
    dit: FramePackDiT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tensors: Weights, path: Path, metadata: dict[str, str]) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr(loading, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_dit(dit, path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
