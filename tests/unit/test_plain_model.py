"""The headless stand-in for MODEL behaves as ComfyUI's ModelPatcher where the pack uses it."""

from __future__ import annotations

import pytest
import torch
from framepack_transitions.models.plain import PlainModel
from torch import nn


class Network(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self.a = nn.Linear(2, 3)
        self.b = nn.Linear(3, 2)


@pytest.fixture
def model() -> PlainModel:
    return PlainModel(Network(), 0.5)


def test_latents_are_scaled_in_and_out(model: PlainModel) -> None:
    latent = torch.randn(1, 16, 1, 2, 2)
    assert torch.equal(model.model.process_latent_in(latent), latent * 0.5)
    torch.testing.assert_close(model.model.process_latent_out(model.model.process_latent_in(latent)), latent)
    assert model.model.latent_format_scale == 0.5


def test_a_clone_shares_weights_and_nothing_else(model: PlainModel) -> None:
    model.model_options["transformer_options"]["list"] = [1]
    model.attachments["image"] = attached = torch.zeros(1)
    other = model.clone()
    other.model_options["transformer_options"]["list"].append(2)
    other.attachments["more"] = 1
    assert model.model_options["transformer_options"]["list"] == [1]
    assert set(model.attachments) == {"image"}
    assert other.attachments["image"] is attached
    assert other.model.diffusion_model is model.model.diffusion_model
    assert other.load_device == model.load_device == torch.device("cpu")


@pytest.mark.parametrize(
    ("stored", "computed"),
    [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.float8_e4m3fn, torch.bfloat16)],
)
def test_inputs_are_cast_to_what_weights_can_compute_with(stored: torch.dtype, computed: torch.dtype) -> None:
    assert PlainModel(Network(stored), 1.0).compute_dtype == computed
    assert PlainModel(Network(stored), 1.0, compute_dtype=torch.float64).compute_dtype == torch.float64


@pytest.mark.parametrize("wrapped", [False, True])
def test_patches_change_one_clone_and_copy_only_what_they_change(model: PlainModel, wrapped: bool) -> None:
    before = model.model.diffusion_model.a.weight.clone()
    difference = torch.ones(3, 2)
    other = model.clone()
    patch = ("diff", (difference,)) if wrapped else difference
    patches = {"diffusion_model.a.weight": patch, "diffusion_model.c.weight": patch}
    applied = other.add_patches(patches, 0.5, 2.0)
    assert applied == ["diffusion_model.a.weight"]
    torch.testing.assert_close(other.model.diffusion_model.a.weight.data, before * 2 + 0.5)
    assert torch.equal(model.model.diffusion_model.a.weight, before)
    assert other.model.diffusion_model.b.weight is model.model.diffusion_model.b.weight
    assert other.model.latent_format_scale == 0.5


def test_patches_of_several_nodes_add_up(model: PlainModel) -> None:
    before = model.model.diffusion_model.b.bias.clone()
    model.add_patches({"diffusion_model.b.bias": torch.ones(2)})
    model.add_patches({"diffusion_model.b.bias": torch.ones(2)}, 2.0)
    torch.testing.assert_close(model.model.diffusion_model.b.bias.data, before + 3)


@pytest.mark.parametrize(
    ("patch", "message"), [(torch.ones(2, 2), r"\[2, 2\], but the weight is \[3, 2\]"), ("text", "is a str")]
)
def test_patches_that_do_not_fit_are_refused_by_key(model: PlainModel, patch: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"diffusion_model\.a\.weight.*{message}"):
        model.add_patches({"diffusion_model.a.weight": patch})
