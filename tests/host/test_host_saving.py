"""Core nodes that write a FramePack MODEL to a file: the pack's loaders read what they wrote."""

from __future__ import annotations

import importlib
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

# A head of the published size: of others a file must say how positions turn, which the host does not write.
PUBLISHED_HEAD = {"num_attention_heads": 1, "attention_head_dim": 128, "rope_axes_dim": (16, 56, 56)}
QUERY = "transformer_blocks.0.attn.to_q"


@pytest.fixture
def folder(comfy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's folder for output, for models and for LoRAs."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    for kind in ("loras", "diffusion_models"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


@pytest.fixture
def make(comfy: ModuleType, dit_cases: ModuleType) -> Callable[[], Any]:
    """A MODEL of a small transformer."""
    from framepack_transitions.models.host import copy_dit, make_model

    dit = dit_cases.make_dit(**PUBLISHED_HEAD).requires_grad_(False)
    return lambda: make_model(
        partial(copy_dit, dit), parameters=1, stored_dtype=torch.float32, dtype=torch.float32
    )


def weights(model: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.model.diffusion_model.state_dict().items()}


def lora(model: Any, folder: Path) -> Tensor:
    """Writes a LoRA of rank 2 for one matrix; what it adds at strength 1."""
    rows, columns = weights(model)[f"{QUERY}.weight"].shape
    generator = torch.Generator().manual_seed(1)
    up, down = torch.randn(rows, 2, generator=generator), torch.randn(2, columns, generator=generator)
    tensors = {f"transformer.{QUERY}.lora_A.weight": down, f"transformer.{QUERY}.lora_B.weight": up}
    save_file(tensors, folder / "style.safetensors")
    return up @ down


def with_lora(model: Any, name: str = "style.safetensors", strength: float = 1.0) -> Any:
    from framepack_transitions.nodes.loading.lora import FramePackLoraLoader

    with torch.inference_mode():
        return FramePackLoraLoader().apply(model, name, strength, "")[0]


def patched(model: Any) -> dict[str, Tensor]:
    """The weights of a MODEL as it is sampled."""
    model.patch_model(device_to=model.load_device)
    found = weights(model)
    model.unpatch_model(device_to=model.offload_device)
    return found


def test_a_saved_model_holds_its_loras_and_loads_again(make: Callable[[], Any], folder: Path) -> None:
    from framepack_transitions.nodes.loading.model_loader import FramePackModelLoader

    merging = importlib.import_module("comfy_extras.nodes_model_merging")
    model = make()
    expected, added = weights(model), lora(model, folder)
    with torch.inference_mode():
        merging.ModelSave().save(with_lora(model), "merged")
        (loaded,) = FramePackModelLoader().load("merged_00001_.safetensors", "default")
    expected[f"{QUERY}.weight"] += added
    found = weights(loaded)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].float(), value, rtol=1e-5, atol=1e-5)


def test_a_lora_that_the_host_extracts_from_two_models_loads_again(
    make: Callable[[], Any], folder: Path
) -> None:
    """The host cuts off the largest hundredth of a factor's numbers, and stores the rest in float16."""
    merging = importlib.import_module("comfy_extras.nodes_model_merging")
    extracting = importlib.import_module("comfy_extras.nodes_lora_extract")
    model = make()
    before, added = weights(model), lora(model, folder)
    with torch.inference_mode():
        (difference,) = _outputs(merging.ModelSubtract(), with_lora(model), model, 1.0)
        _outputs(
            extracting.LoraSave(), "extracted", 2, extracting.LORAType.STANDARD.name.lower(), True, difference
        )
    after = patched(with_lora(make(), "extracted_00001_.safetensors"))
    found = {name: after[name] - before[name] for name in before}
    query = found.pop(f"{QUERY}.weight")
    assert (query - added).norm() < 0.1 * added.norm()
    assert all(float(value.abs().max()) < 1e-3 for value in found.values())


def _outputs(node: Any, *inputs: Any) -> Any:
    found = getattr(node, getattr(node, "FUNCTION", "execute"))(*inputs)
    return getattr(found, "args", found)
