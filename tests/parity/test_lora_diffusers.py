"""LoRA files in HunyuanVideo's names mean here what diffusers' own converter makes of them."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.files.lora import convert, parameter_shapes

conversion = pytest.importorskip("diffusers.loaders.lora_conversion_utils")

RANK = 6
COLUMNS = 8  # of each difference: every row is compared, on some of its columns
# The converter splits linear1 at 3072, so the width must be the published one.
CONFIG = FramePackConfig(num_layers=1, num_single_layers=1, num_refiner_layers=1)
STYLES = ("kohya", "transformer", "diffusion_model", "i2v", "comfyui", "comfyui_bare", "peft")
OWN_STYLES = ("musubi", "diffusers", "bare", "onetrainer", "lycoris", "old_diffusers")

Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    return parameter_shapes(FramePackDiT(CONFIG, device="meta"))


@pytest.fixture(scope="module")
def original(lora_cases: ModuleType) -> Factors:
    return lora_cases.make_factors(lora_cases.original_layers(CONFIG), RANK)


@pytest.fixture(scope="module")
def converted(lora_cases: ModuleType, original: Factors) -> Factors:
    """diffusers' (down, up) by module."""
    tensors = lora_cases.ORIGINAL_STYLES["transformer"].write(original)
    found = conversion._convert_hunyuan_video_lora_to_diffusers(tensors)
    names = {key.partition(".lora_")[0] for key in found}
    factors = {
        name.removeprefix("transformer."): (found[f"{name}.lora_A.weight"], found[f"{name}.lora_B.weight"])
        for name in names
    }
    # Two slips of the converter: it swaps and splits lora_A, too, whose rows are ranks. Both are undone here.
    down, up = factors["norm_out.linear"]
    factors["norm_out.linear"] = (torch.cat(down.chunk(2)[::-1]), up)
    attention = "context_embedder.token_refiner.refiner_blocks.0.attn"
    names = [f"{attention}.to_{letter}" for letter in "qkv"]
    down = torch.cat([factors[name][0] for name in names])
    return {**factors, **{name: (down, factors[name][1]) for name in names}}


def rows(down: torch.Tensor, up: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Some columns of the difference."""
    return up.flatten(1) @ down.flatten(1)[:, columns]


@pytest.mark.parametrize("style", STYLES + OWN_STYLES)
def test_differences_are_those_of_diffusers_row_by_row(
    lora_cases: ModuleType, shapes: dict, original: Factors, converted: Factors, style: str
) -> None:
    assert {*STYLES} == {*lora_cases.ORIGINAL_STYLES} and {*OWN_STYLES} == {*lora_cases.DIFFUSERS_STYLES}
    own = style in OWN_STYLES
    written = (lora_cases.DIFFUSERS_STYLES if own else lora_cases.ORIGINAL_STYLES)[style]
    alpha = RANK / 2 if written.alpha else None
    lora = convert(written.write(converted if own else original, alpha), shapes)

    assert not lora.unmatched
    assert sorted(change.module for change in lora.changes) == sorted(converted)
    for change in lora.changes:
        down, up = converted[change.module]
        columns = torch.linspace(0, down[0].numel() - 1, COLUMNS).long()
        assert torch.equal(rows(change.parts["down"], change.parts["up"], columns), rows(down, up, columns))
        assert change.parts.get("alpha") == (None if alpha is None else torch.tensor(alpha))
        assert up.shape[0] == shapes[f"{change.module}.weight"][0]
