"""Whole videos from quantised files in ComfyUI: as far from the plain file's as the format rounds."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

pytestmark = pytest.mark.host
RUN = {"seconds": 1.2, "timeline": None, "steps": 3}
# How far a video may be from the plain file's, relative to its size: the rounding of the format, over three steps.
ROUNDING = {
    "scaled_fp8": 0.1,
    "musubi_rows": 0.1,
    "musubi_blocks": 0.1,
    "comfy_fp8": 0.1,
    "comfy_int8": 0.06,
    "mxfp8": 0.1,
    "nvfp4": 0.4,
    "gguf": 0.03,
    "gguf_k": 0.1,
}
# Matrices whose columns K-quants cannot hold are in Q8_0, as in published files.
GGUF = {"gguf": ("Q8_0",), "gguf_k": ("Q4_K", "Q5_K", "Q6_K", "Q8_0")}


@pytest.fixture(scope="module")
def folder(comfy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The host's folder of diffusion models."""
    import folder_paths

    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            folder_paths.folder_names_and_paths, "diffusion_models", ([str(folder)], {".safetensors"})
        )
        patch.setattr(folder_paths, "filename_list_cache", {})
        yield folder


def sampled(tiny: Any, name: str, **run: Any) -> torch.Tensor:
    """The latents of a video from a file, which takes the tiny model's scale of latents."""
    (model,) = tiny.call("FramePackModelLoader", model_name=name, weight_dtype="default")
    model.model.latent_format = tiny.model.model.latent_format
    return tiny.sample(model, **{**RUN, **run})


@pytest.fixture(scope="module")
def dit(tiny: Any) -> Any:
    from framepack_transitions.tiny.bundle import load_tiny

    return load_tiny().dit.float()


@pytest.fixture(scope="module")
def plain(tiny: Any, dit: Any, folder: Path) -> torch.Tensor:
    """The latents of a video from the plain file."""
    weights = {name: value.to(torch.bfloat16) for name, value in dit.state_dict().items()}
    save_file(weights, folder / "plain.safetensors", {"framepack_config": dit.config.to_json()})
    return sampled(tiny, "plain.safetensors")


@pytest.mark.parametrize("layout", ROUNDING)
def test_a_video_of_a_quantised_file_is_the_plain_ones_but_for_the_formats_rounding(
    layout: str, tiny: Any, dit: Any, plain: torch.Tensor, folder: Path, quantised_cases: ModuleType,
    dit_cases: ModuleType,
) -> None:  # fmt: skip
    name = f"{layout}.safetensors"
    if layout in GGUF:
        pytest.importorskip("gguf")
        name = f"{layout}.gguf"
        quantised_cases.write_gguf(folder / name, dit, *GGUF[layout])
    else:
        stored, _ = quantised_cases.quantise(dit, layout)
        save_file(stored, folder / name, {"framepack_config": dit.config.to_json()})
    error = dit_cases.relative_error(sampled(tiny, name), plain)
    assert 0 < error < ROUNDING[layout]
