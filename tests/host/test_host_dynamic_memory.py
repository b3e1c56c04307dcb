"""DynamicVRAM, the memory management of newer hosts on NVIDIA: its own classes, as far as a machine without a GPU goes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

pytestmark = pytest.mark.host


@pytest.fixture
def dynamic(comfy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host as it is once it has found a GPU that DynamicVRAM works on."""
    if not hasattr(comfy.model_patcher, "ModelPatcherDynamic"):
        pytest.skip("this host has no DynamicVRAM")
    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcherDynamic)
    from comfy_aimdo import control, host_buffer

    control.init()
    importlib.reload(host_buffer)
    # Layers then have no weights before they are loaded.
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)


@pytest.fixture
def gpu(comfy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A GPU that is named and never used."""
    device = torch.device("cuda", 0)
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: device)
    return device


@pytest.fixture
def load(
    tmp_path: Path,
    dit_cases: ModuleType,
    quantised_cases: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    comfy: ModuleType,
) -> Callable[[str], Any]:
    """Writes a small model in a layout and loads it by the node."""
    import folder_paths
    from framepack_transitions.nodes.loading.model_loader import FramePackModelLoader

    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "diffusion_models", ([str(tmp_path)], {".safetensors"})
    )
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    dit = dit_cases.make_dit().requires_grad_(False)

    def write_and_load(layout: str) -> Any:
        if layout == "gguf":
            pytest.importorskip("gguf")
            quantised_cases.write_gguf(tmp_path / "model.gguf", dit, "Q8_0")
            return FramePackModelLoader().load("model.gguf", "default")[0]
        stored = dit.state_dict() if layout == "plain" else quantised_cases.quantise(dit, layout)[0]
        save_file(stored, tmp_path / "model.safetensors", {"framepack_config": dit.config.to_json()})
        return FramePackModelLoader().load("model.safetensors", "default")[0]

    return write_and_load


def predict(model: Any, dit_cases: ModuleType) -> torch.Tensor:
    import comfy.model_management

    comfy.model_management.load_models_gpu([model])
    with torch.inference_mode():
        return model.model.diffusion_model(**dit_cases.make_inputs())


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in model.model.diffusion_model.state_dict().items()}


LAYOUTS = ["plain", "scaled_fp8", "musubi_rows", "musubi_blocks", "comfy_int8", "nvfp4", "gguf"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_load_into_layers_that_have_no_weights_yet(
    layout: str, load: Callable[[str], Any], dit_cases: ModuleType, request: pytest.FixtureRequest
) -> None:
    expected = predict(load(layout), dit_cases)
    request.getfixturevalue("dynamic")
    assert torch.equal(predict(load(layout), dit_cases), expected)


@pytest.mark.usefixtures("dynamic")
@pytest.mark.parametrize("layout", ["plain", "comfy_int8", "musubi_rows"])
def test_a_model_streams_its_weights_unless_only_our_layers_can_unpack_them(
    layout: str, gpu: torch.device, load: Callable[[str], Any]
) -> None:
    model = load(layout)
    assert model.load_device == gpu
    assert model.is_dynamic() == (layout != "musubi_rows")


@pytest.mark.usefixtures("dynamic", "gpu")
@pytest.mark.parametrize("layout", ["plain", "comfy_int8"])
def test_the_host_makes_another_model_of_the_file_where_it_cannot_stream(
    layout: str, comfy: ModuleType, load: Callable[[str], Any]
) -> None:
    from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
    from framepack_transitions.samplers.techniques.wiring import techniques_of, with_technique

    model = with_technique(load(layout), SemanticKVGate(gamma=1.0))
    whole = model.clone(disable_dynamic=True)
    assert not whole.is_dynamic() and whole.model is not model.model
    for name, value in weights(model).items():
        assert torch.equal(weights(whole)[name].view(torch.uint8), value.view(torch.uint8)), name
    assert techniques_of(whole.model_options) == techniques_of(model.model_options)
    assert whole.attachments.keys() == model.attachments.keys()
    # What hooks are run on.
    assert not model.get_non_dynamic_delegate().is_dynamic()


@pytest.mark.usefixtures("dynamic", "gpu")
def test_the_tiny_model_is_made_anew_too(comfy: ModuleType) -> None:
    from comfy_extras.nodes_torch_compile import TorchCompileModel
    from framepack_transitions.nodes.loading.tiny_loader import FramePackTinyLoader

    model, *_ = FramePackTinyLoader().load()
    assert model.is_dynamic()
    (compiled,) = TorchCompileModel.execute(model, "eager").args
    assert not compiled.is_dynamic()
    assert torch.equal(weights(compiled)["proj_out.weight"], weights(model)["proj_out.weight"])


@pytest.mark.usefixtures("dynamic")
def test_a_model_is_copied_for_another_gpu(load: Callable[[str], Any]) -> None:
    model = load("plain")
    copy = model.deepclone_multigpu(new_load_device=torch.device("cpu"))
    assert copy.model is not model.model and copy.model_options == model.model_options
