"""Quantised files in ComfyUI: its own layers where it has them, LoRAs on top, and nothing left behind."""

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

LAYOUTS = ["scaled_fp8", "musubi_rows", "musubi_blocks", "comfy_fp8", "comfy_int8", "mxfp8", "nvfp4", "gguf"]
QUERY = "transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def dit(dit_cases: ModuleType) -> Any:
    return dit_cases.make_dit().requires_grad_(False)


@pytest.fixture
def folder(comfy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's folder of diffusion models and of LoRAs."""
    import folder_paths

    for kind in ("diffusion_models", "loras"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


@pytest.fixture
def write(
    dit: Any, folder: Path, quantised_cases: ModuleType
) -> Callable[[str], tuple[str, dict[str, Tensor]]]:
    """Writes the small model in a layout; gives the file's name and the plain weights that it stands for."""

    def write_file(layout: str) -> tuple[str, dict[str, Tensor]]:
        if layout == "gguf":
            pytest.importorskip("gguf")
            return "model.gguf", quantised_cases.write_gguf(folder / "model.gguf", dit, "Q8_0")
        stored, plain = quantised_cases.quantise(dit, layout)
        save_file(stored, folder / "model.safetensors", {"framepack_config": dit.config.to_json()})
        return "model.safetensors", plain

    return write_file


def load(name: str) -> Any:
    from framepack_transitions.nodes.loading.model_loader import FramePackModelLoader

    (model,) = FramePackModelLoader().load(name, "default")
    return model


def plain_model(dit: Any, weights: dict[str, Tensor]) -> Any:
    """A MODEL of plain weights, on the host too."""
    from framepack_transitions.models.dit import FramePackDiT
    from framepack_transitions.models.host import copy_dit, make_model

    source = FramePackDiT(dit.config)
    source.load_state_dict(weights)
    return make_model(
        partial(copy_dit, source), parameters=1, stored_dtype=torch.float32, dtype=torch.float32
    )


def run(model: Any, dit_cases: ModuleType) -> Tensor:
    """One evaluation of a MODEL that the host has loaded."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([model])
    with torch.inference_mode():
        return model.model.diffusion_model(**dit_cases.make_inputs())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_quantised_file_predicts_as_its_numbers_with_a_lora_and_without(
    layout: str, dit: Any, write: Callable, dit_cases: ModuleType, lora_cases: ModuleType, folder: Path
) -> None:
    from framepack_transitions.nodes.loading.lora import FramePackLoraLoader

    name, plain = write(layout)
    layers = {QUERY: tuple(plain[f"{QUERY}.weight"].shape), "proj_out": tuple(plain["proj_out.weight"].shape)}
    save_file(
        lora_cases.DIFFUSERS_STYLES["diffusers"].write(lora_cases.make_factors(layers)),
        folder / "style.safetensors",
    )
    model, reference = load(name), plain_model(dit, plain)
    before = run(model, dit_cases)
    assert (
        dit_cases.relative_error(before, run(reference, dit_cases)) < 0.02
    )  # biases and the like are bf16 here

    patched, _ = FramePackLoraLoader().apply(model, "style.safetensors", 0.5, "")
    expected, _ = FramePackLoraLoader().apply(reference, "style.safetensors", 0.5, "")
    after, wanted = run(patched, dit_cases), run(expected, dit_cases)
    assert dit_cases.relative_error(wanted, before) > 0.05
    # The host's own layers round the patched weight to their format again.
    assert dit_cases.relative_error(after, wanted) < (0.3 if layout == "nvfp4" else 0.1)
    assert torch.equal(run(model, dit_cases), before)


@pytest.mark.parametrize("layout", ["musubi_rows", "gguf"])
def test_with_little_memory_a_lora_is_applied_once(
    layout: str, dit: Any, write: Callable, dit_cases: ModuleType, lora_cases: ModuleType, folder: Path,
    comfy: ModuleType, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from framepack_transitions.nodes.loading.lora import FramePackLoraLoader

    name, plain = write(layout)
    layers = {QUERY: tuple(plain[f"{QUERY}.weight"].shape)}
    save_file(
        lora_cases.DIFFUSERS_STYLES["diffusers"].write(lora_cases.make_factors(layers)),
        folder / "style.safetensors",
    )
    model, _ = FramePackLoraLoader().apply(load(name), "style.safetensors", 1.0, "")
    expected = run(model, dit_cases)
    model.partially_unload(model.offload_device, 10**12)
    assert len(model.model.diffusion_model.get_submodule(QUERY).weight_function) == 1
    with torch.inference_mode():
        assert torch.equal(model.model.diffusion_model(**dit_cases.make_inputs()), expected)
    management = comfy.model_management
    management.unload_all_models()
    monkeypatch.setattr(management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NO_VRAM)
    monkeypatch.setattr(management, "lowvram_available", True)
    assert dit_cases.relative_error(run(model, dit_cases), expected) < 1e-3
    management.unload_all_models()


def test_the_hosts_own_layers_are_used_where_it_has_them(write: Callable) -> None:
    import comfy.ops
    from framepack_transitions.models.host_quantised import QuantisedPatcher

    for layout, in_host in (("comfy_int8", True), ("nvfp4", True), ("musubi_rows", False)):
        model = load(write(layout)[0])
        own = isinstance(model, QuantisedPatcher)
        assert own == (not (in_host and hasattr(comfy.ops, "mixed_precision_ops")))
        weight = model.model.diffusion_model.get_submodule(QUERY).weight
        assert (
            type(weight).__name__ == "QuantizedTensor" or type(weight.data).__name__ == "QuantizedTensor"
        ) != own


def test_a_storage_type_is_refused_and_gguf_files_are_offered(write: Callable) -> None:
    from framepack_transitions.nodes.loading.model_loader import FramePackModelLoader

    name, _ = write("gguf")
    assert name in FramePackModelLoader.INPUT_TYPES()["required"]["model_name"][0]
    with pytest.raises(
        ValueError, match=r"model.gguf is quantised \(Q8_0\).*weight_dtype is bf16, set it to default"
    ):
        FramePackModelLoader().load(name, "bf16")
