"""LoRAs on a real ComfyUI MODEL: the same weights as without the host, off again bit by bit, fp8 and low memory too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

pytestmark = pytest.mark.host

NAME = "style.safetensors"


@pytest.fixture(scope="module")
def dit(dit_cases: ModuleType) -> Any:
    return dit_cases.make_dit().requires_grad_(False)


@pytest.fixture
def make(comfy: ModuleType, dit: Any) -> Callable[..., Any]:
    """A MODEL of the small transformer with weights stored in a dtype."""
    from framepack_transitions.models.host import copy_dit, make_model

    def make_patcher(stored: torch.dtype = torch.float32) -> Any:
        return make_model(partial(copy_dit, dit), parameters=1, stored_dtype=stored, dtype=stored)

    return make_patcher


@pytest.fixture
def loras(comfy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's folder of LoRAs."""
    import folder_paths

    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors", ".pt"})
    )
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def files(lora_cases: ModuleType, dit: Any) -> dict[str, dict[str, Tensor]]:
    """A file of each kind, with fused and whole layers, a convolution and the swapped modulation."""
    layers = lora_cases.original_layers(dit.config)
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return 0.2 * torch.randn(shape, generator=generator)

    loha, lokr = {}, {}
    for name, (rows, *columns) in layers.items():
        width = int(torch.tensor(columns).prod())
        key = f"lora_unet_{name.replace('.', '_')}"
        loha |= {f"{key}.hada_w1_a": normal(rows, 3), f"{key}.hada_w1_b": normal(3, width),
                 f"{key}.hada_w2_a": normal(rows, 3), f"{key}.hada_w2_b": normal(3, width),
                 f"{key}.alpha": torch.tensor(2.0)}  # fmt: skip
        lokr |= {f"{key}.lokr_w1": normal(4, 2), f"{key}.lokr_w2_a": normal(rows // 4, 3),
                 f"{key}.lokr_w2_b": normal(3, width // 2), f"{key}.alpha": torch.tensor(2.0)}  # fmt: skip
    factors = {name: (0.1 * down, 0.1 * up) for name, (down, up) in lora_cases.make_factors(layers).items()}
    plain = lora_cases.ORIGINAL_STYLES["kohya"].write(factors, 2.0)
    bias = {"transformer.double_blocks.0.img_attn_qkv.diff_b": normal(3 * dit.config.inner_dim)}
    few_steps = lora_cases.extracted(dit.config, 4)
    return {"lora": {**plain, **bias}, "loha": loha, "lokr": lokr, "few steps": few_steps}


def apply(model: Any, strength: float = 0.5, name: str = NAME, blocks: str = "") -> tuple[Any, str]:
    from framepack_transitions.nodes.loading.lora import FramePackLoraLoader

    with torch.inference_mode():
        return FramePackLoraLoader().apply(model, name, strength, blocks)


def weights(model: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.model.diffusion_model.state_dict().items()}


def bits(value: Tensor) -> Tensor:
    return value.view(torch.uint8) if value.dtype.itemsize == 1 else value


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert not [name for name in one if not torch.equal(bits(one[name]), bits(other[name]))]


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "few steps"])
def test_the_host_patches_what_a_plain_model_gets_and_takes_it_off_bit_by_bit(
    lora_cases: ModuleType, dit: Any, make: Callable, loras: Path, kind: str
) -> None:
    from framepack_transitions.models.files.lora import convert, parameter_shapes

    file = files(lora_cases, dit)[kind]
    save_file(file, loras / NAME)
    model = make()
    before, shapes = weights(model), parameter_shapes(dit)
    patched, report = apply(model)
    assert f"{len(file)} of {len(file)} keys matched" in report
    expected = {name: value.clone() for name, value in before.items()}
    for change in convert(file, shapes).changes:
        for name, value in change.differences(shapes).items():
            expected[name] += 0.5 * value
    assert {name for name in expected if not torch.equal(expected[name], before[name])} == {
        key.removeprefix("diffusion_model.") for key in patched.patches
    }

    patched.patch_model(device_to=patched.load_device)
    after = weights(patched)
    for name, value in expected.items():
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-4)
    patched.unpatch_model(device_to=patched.offload_device)
    assert_same(weights(model), before)


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16])
def test_small_storage_is_patched_and_restored(
    lora_cases: ModuleType, dit_cases: ModuleType, dit: Any, make: Callable, loras: Path, stored: torch.dtype
) -> None:
    from framepack_transitions.models.files.lora import convert, parameter_shapes

    file = files(lora_cases, dit)["lora"]
    save_file(file, loras / NAME)
    model, shapes = make(stored), parameter_shapes(dit)
    before = weights(model)
    patched, _ = apply(model, 1.0)
    patched.patch_model(device_to=patched.load_device)
    after = weights(patched)
    for change in convert(file, shapes).changes:
        for name, value in change.differences(shapes).items():
            assert after[name].dtype == before[name].dtype
            error = dit_cases.relative_error(after[name].float(), before[name].float() + value)
            assert error < torch.finfo(after[name].dtype).eps
    patched.unpatch_model(device_to=patched.offload_device)
    assert_same(weights(model), before)


def test_chained_loras_add_up_and_a_clone_without_them_stays_clean(
    lora_cases: ModuleType, dit: Any, make: Callable, loras: Path
) -> None:
    for kind, file in files(lora_cases, dit).items():
        save_file(file, loras / f"{kind}.safetensors")
    model = make()
    before = weights(model)
    chain = model
    for kind in ("lora", "loha", "lokr"):
        chain, _ = apply(chain, 0.3, f"{kind}.safetensors")
    sums = {name: value.clone() for name, value in before.items()}
    for kind in ("lora", "loha", "lokr"):
        single, _ = apply(model, 0.3, f"{kind}.safetensors")
        single.patch_model(device_to=single.load_device)
        for name, value in weights(single).items():
            sums[name] += value - before[name]
        single.unpatch_model(device_to=single.offload_device)
    assert not model.patches
    chain.patch_model(device_to=chain.load_device)
    for name, value in weights(chain).items():
        torch.testing.assert_close(value, sums[name], rtol=1e-4, atol=1e-4)
    chain.unpatch_model(device_to=chain.offload_device)
    assert_same(weights(model), before)


def run(model: Any, dit_cases: ModuleType) -> Tensor:
    """One evaluation of a MODEL that the host has loaded."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([model])
    with torch.inference_mode():
        return model.model.diffusion_model(**dit_cases.make_inputs())


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
def test_with_little_memory_the_lora_is_applied_as_the_weights_stream_in(
    comfy: ModuleType, lora_cases: ModuleType, dit_cases: ModuleType, dit: Any, make: Callable, loras: Path,
    monkeypatch: pytest.MonkeyPatch, kind: str,
) -> None:  # fmt: skip
    save_file(files(lora_cases, dit)[kind], loras / NAME)
    model = make()
    plain = run(model, dit_cases)
    patched, _ = apply(model, 1.0)
    expected = run(patched, dit_cases)
    assert dit_cases.relative_error(expected, plain) > 0.01

    management = comfy.model_management
    management.unload_all_models()
    monkeypatch.setattr(management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NO_VRAM)
    monkeypatch.setattr(management, "lowvram_available", True)
    streamed = run(patched, dit_cases)
    assert patched.model.model_lowvram, "the host was expected to keep weights on the offload device"
    assert dit_cases.relative_error(streamed, expected) < 1e-4
    management.unload_all_models()
    assert torch.equal(run(model, dit_cases), plain)
    management.unload_all_models()


def test_the_node_offers_safetensors_only_and_names_a_missing_file(make: Callable, loras: Path) -> None:
    from framepack_transitions.nodes.loading.lora import FramePackLoraLoader

    for name in (NAME, "old.pt"):
        (loras / name).write_bytes(b"")
    assert FramePackLoraLoader.INPUT_TYPES()["required"]["lora_name"][0] == [NAME]
    with pytest.raises(FileNotFoundError, match="absent.safetensors"):
        apply(make(), name="absent.safetensors")
    with pytest.raises(ValueError, match="style.safetensors: not a whole safetensors file"):
        apply(make())


def test_techniques_and_loras_chain_in_either_order(
    lora_cases: ModuleType, dit: Any, make: Callable, loras: Path
) -> None:
    save_file(files(lora_cases, dit)["lora"], loras / NAME)
    model = make()
    model.model_options["transformer_options"]["framepack_techniques"] = ["a technique"]
    patched, _ = apply(model)
    assert patched.model_options["transformer_options"]["framepack_techniques"] == ["a technique"]
    assert patched.clone().patches.keys() == patched.patches.keys() and patched.patches


def test_a_dora_reaches_the_hosts_own_arithmetic(dit: Any, make: Callable, loras: Path) -> None:
    name, d = "double_blocks.0.img_attn_qkv", dit.config.inner_dim
    generator = torch.Generator().manual_seed(2)
    file = {f"{name}.lora_down.weight": torch.randn(4, d, generator=generator),
            f"{name}.lora_up.weight": torch.randn(3 * d, 4, generator=generator),
            f"{name}.dora_scale": 1 + torch.rand(3 * d, 1, generator=generator)}  # fmt: skip
    save_file(file, loras / NAME)
    patched, _ = apply(make(), 1.0)
    before = weights(patched)
    patched.patch_model(device_to=patched.load_device)
    after = weights(patched)
    difference = file[f"{name}.lora_up.weight"] @ file[f"{name}.lora_down.weight"]
    for i, letter in enumerate("qkv"):
        rows, key = slice(i * d, (i + 1) * d), f"transformer_blocks.0.attn.to_{letter}.weight"
        changed = before[key] + difference[rows]
        expected = changed * file[f"{name}.dora_scale"][rows] / before[key].norm(dim=1, keepdim=True)
        torch.testing.assert_close(after[key], expected, rtol=1e-3, atol=1e-3)


def test_the_examples_lora_is_the_same_by_the_hosts_own_loader(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """musubi-tuner's names for FramePack are those of the modules, which the host knows for any model."""
    import folder_paths
    from framepack_transitions.nodes.example_files import SHIPPED

    from nodes import LoraLoaderModelOnly

    folders = ([str(SHIPPED)], {".safetensors"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", folders)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    name = "framepack_transitions_tiny_lora.safetensors"
    ours, report = apply(tiny.model, 1.0, name)
    with torch.inference_mode():
        theirs = LoraLoaderModelOnly().load_lora_model_only(tiny.model, name, 1.0)[0]
    assert ours.patches.keys() == theirs.patches.keys() and "unmatched" not in report
    before, after = weights(tiny.model), []
    for model in (ours, theirs):
        model.patch_model(device_to=model.load_device)
        after.append(weights(model))
        model.unpatch_model(device_to=model.offload_device)
    assert {key.removeprefix("diffusion_model.") for key in ours.patches} == {
        key for key, value in after[0].items() if not torch.equal(value, before[key])
    }
    for key, value in after[0].items():
        torch.testing.assert_close(value, after[1][key], rtol=0, atol=1e-6)
