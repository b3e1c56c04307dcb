"""FramePackDiT against diffusers' HunyuanVideoFramepackTransformer3DModel with the same random weights.

Both compute in float64, but for rotation, time and norms, which they round to float32 in the same way: what is left of
rounding is 2e-7. Time and guidance stay float32, as they come.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from framepack_transitions.benchmarks.speed.peer import PeerMissingError, peer_class
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from torch import Tensor

try:
    Reference = peer_class()
except PeerMissingError as missing:
    pytest.skip(str(missing), allow_module_level=True)

REFERENCE_NAMES = {
    "x": "hidden_states",
    "context": "encoder_hidden_states",
    "attention_mask": "encoder_attention_mask",
    "y": "pooled_projections",
    "latent_indices": "indices_latents",
    "clean_latents": "latents_clean",
    "clean_latent_indices": "indices_latents_clean",
    "clean_latents_2x": "latents_history_2x",
    "clean_latent_2x_indices": "indices_latents_history_2x",
    "clean_latents_4x": "latents_history_4x",
    "clean_latent_4x_indices": "indices_latents_history_4x",
}

# (changes to the config, changes to the inputs, real text tokens by row)
CONFIGURATIONS: dict[str, tuple[dict[str, Any], dict[str, int], tuple[int, ...]]] = {
    "small": ({}, {}, (5,)),
    "tiers_need_padding": ({}, {"height": 10, "width": 14}, (5,)),
    "one_row_of_patches": ({}, {"height": 2, "width": 6}, (5,)),
    "wide": ({}, {"height": 4, "width": 22, "window": 3}, (5,)),
    "one_frame": ({}, {"window": 1}, (5,)),
    "long_window": ({}, {"window": 33, "height": 4, "width": 4}, (5,)),
    "padded_text": ({}, {}, (2,)),
    "batch_of_ragged_text": ({}, {"batch": 2, "height": 10, "width": 14}, (5, 2)),
    "batch_of_one_word_each": ({}, {"batch": 3}, (1, 5, 3)),
    "one_head": ({"num_attention_heads": 1}, {}, (4,)),
    "five_heads": (
        {"num_attention_heads": 5, "attention_head_dim": 16, "rope_axes_dim": (4, 6, 6)},
        {},
        (5,),
    ),
    "head_of_128": ({"attention_head_dim": 128, "rope_axes_dim": (16, 56, 56)}, {}, (5,)),
    "deep": ({"num_layers": 4, "num_single_layers": 5, "num_refiner_layers": 3}, {}, (5,)),
    "no_double_blocks": ({"num_layers": 0, "num_single_layers": 1}, {}, (5,)),
    "no_single_blocks": ({"num_layers": 2, "num_single_layers": 0}, {}, (5,)),
    "narrow_mlp": ({"mlp_ratio": 1.5, "rope_theta": 10000.0}, {}, (5,)),
    "no_guidance": ({"guidance_embeds": False}, {}, (5,)),
    "one_text_token_one_image_token": ({}, {"text": 1, "image": 1}, (1,)),
}


def pair(dit_cases: ModuleType, changes: dict[str, Any]) -> tuple[FramePackDiT, torch.nn.Module]:
    """Our model and the reference with the same weights, norm weights included."""
    dit = dit_cases.make_dit(dtype=torch.float64, **changes)
    for name, parameter in dit.named_parameters():
        if ".norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.2)
    reference = Reference(**{**dit_cases.SMALL, **changes}).eval().double()
    reference.load_state_dict(dit.state_dict())
    return dit.requires_grad_(False), reference.requires_grad_(False)


def make_inputs(dit_cases: ModuleType, **sizes: int) -> dict[str, Tensor]:
    return {
        name: value.double() if value.is_floating_point() and name not in ("timestep", "guidance") else value
        for name, value in dit_cases.make_inputs(**sizes).items()
    }


def reference_output(reference: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    return reference(**{REFERENCE_NAMES.get(name, name): value for name, value in inputs.items()}).sample


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_output_is_that_of_diffusers(name: str, dit_cases: ModuleType) -> None:
    config, sizes, lengths = CONFIGURATIONS[name]
    dit, reference = pair(dit_cases, config)
    inputs = make_inputs(dit_cases, **sizes)
    inputs["attention_mask"] = torch.arange(inputs["context"].shape[1]) < torch.tensor(lengths)[:, None]
    expected = reference_output(reference, {**inputs, "attention_mask": inputs["attention_mask"].long()})
    assert dit_cases.relative_error(dit(**inputs), expected) <= 1e-6


def test_a_text_without_mask_is_a_text_of_real_tokens(dit_cases: ModuleType) -> None:
    dit, reference = pair(dit_cases, {})
    inputs = make_inputs(dit_cases)
    expected = reference_output(reference, {**inputs, "attention_mask": torch.ones(1, 5, dtype=torch.long)})
    assert dit_cases.relative_error(dit(**inputs), expected) <= 1e-6


def test_gradients_are_those_of_diffusers(dit_cases: ModuleType) -> None:
    dit, reference = pair(dit_cases, {})
    inputs = make_inputs(dit_cases)
    for model in (dit, reference):
        model.requires_grad_(True)
    dit(**inputs).square().mean().backward()
    inputs["attention_mask"] = torch.ones(1, 5, dtype=torch.long)
    reference_output(reference, inputs).square().mean().backward()
    expected = dict(reference.named_parameters())
    for name, parameter in dit.named_parameters():
        wanted = expected[name].grad
        # A bias of keys changes nothing: its gradient is zero.
        assert (parameter.grad - wanted).norm() <= 1e-6 * wanted.norm() + 1e-12, name


def test_the_full_model_has_the_parameters_of_diffusers() -> None:
    with torch.device("meta"):
        reference = Reference(has_image_proj=True, has_clean_x_embedder=True)
    dit = FramePackDiT(FramePackConfig(), device="meta")
    expected = {name: tuple(value.shape) for name, value in reference.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in dit.state_dict().items()} == expected
    assert sum(value.numel() for value in dit.parameters()) > 12.5e9
