"""What a forward does for a step cache: signals against the formulas, residuals kept and put back."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from framepack_transitions.models.caching.step_cache import BlockCache, Signal
from framepack_transitions.models.dit import FramePackDiT

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture(scope="module")
def dit(dit_cases: ModuleType) -> FramePackDiT:
    return dit_cases.make_dit()


def told(dit: FramePackDiT, inputs: dict[str, torch.Tensor], kind: str) -> torch.Tensor:
    signal = Signal(kind)
    dit(**inputs, transformer_options={"framepack_signal": signal})
    return signal.given()


class FirstBlock:
    """What goes into the first block in an ordinary forward, and what comes out."""

    def __init__(self, dit: FramePackDiT, inputs: dict[str, torch.Tensor]) -> None:
        handle = dit.transformer_blocks[0].register_forward_hook(self._keep, with_kwargs=True)
        dit(**inputs)
        handle.remove()

    def _keep(self, block: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        self.img, self.vec, self.added = kwargs["img"], kwargs["vec"], output[0] - kwargs["img"]
        linear = block.norm1.linear
        vectors = F.linear(F.silu(self.vec.double()), linear.weight.double(), linear.bias.double())
        shift, scale = vectors[:, None].chunk(6, dim=-1)[:2]
        self.modulated = F.layer_norm(self.img.double(), self.img.shape[-1:], eps=1e-6) * (1 + scale) + shift


def test_the_input_signal_is_the_first_blocks_modulated_input(dit, dit_cases):
    inputs = dit_cases.make_inputs(batch=2)
    expected = FirstBlock(dit, inputs).modulated.float()
    torch.testing.assert_close(told(dit, inputs, "input"), expected, rtol=1e-4, atol=1e-5)


def test_the_past_signal_is_that_of_the_packed_past_alone(dit, dit_cases):
    inputs = dit_cases.make_inputs()
    noisy = 2 * 4 * 4
    expected = FirstBlock(dit, inputs).modulated[:, :-noisy].float()
    torch.testing.assert_close(told(dit, inputs, "past"), expected, rtol=1e-4, atol=1e-5)
    later = {**inputs, "x": inputs["x"] + 1}
    assert torch.equal(told(dit, later, "past"), told(dit, inputs, "past"))
    assert not torch.equal(told(dit, later, "input"), told(dit, inputs, "input"))


def test_without_a_past_the_window_stands_for_it(dit, dit_cases):
    inputs = {name: value for name, value in dit_cases.make_inputs().items() if not name.startswith("clean")}
    assert torch.equal(told(dit, inputs, "past"), told(dit, inputs, "input"))


def test_the_first_block_signal_is_what_it_adds(dit, dit_cases):
    inputs = dit_cases.make_inputs()
    torch.testing.assert_close(told(dit, inputs, "first_block"), FirstBlock(dit, inputs).added)


@pytest.mark.parametrize("kind", ["past", "input", "first_block"])
def test_a_signal_runs_no_blocks_but_the_first(dit_cases, kind):
    dit, ran = dit_cases.make_dit(num_layers=2), []
    for block in (*dit.transformer_blocks[1:], *dit.single_transformer_blocks):
        block.register_forward_hook(lambda *args: ran.append(args[0].block))
    told(dit, dit_cases.make_inputs(), kind)
    assert ran == []


def test_keeping_residuals_changes_no_bit_and_adding_them_gives_the_forward_again(dit, dit_cases):
    inputs, cache = dit_cases.make_inputs(), BlockCache()
    expected = dit(**inputs)
    assert torch.equal(dit(**inputs, transformer_options={"framepack_cache": cache}), expected)
    handle = dit.transformer_blocks[0].register_forward_pre_hook(lambda *args: pytest.fail("a block was run"))
    again = dit(**inputs, transformer_options={"framepack_cache": BlockCache(cache.computed)})
    handle.remove()
    torch.testing.assert_close(again, expected)


def test_chunks_of_a_batch_are_kept_and_taken_by_their_numbers(dit, dit_cases):
    inputs = dit_cases.make_inputs(batch=2)
    options = {"framepack_cache": (both := BlockCache()), "cond_or_uncond": [1, 0]}
    expected = dit(**inputs, transformer_options=options)
    assert sorted(both.computed) == [0, 1]
    for number, row in ((0, 1), (1, 0)):
        single = {
            name: value[row : row + 1] if value.shape[:1] == (2,) and "indices" not in name else value
            for name, value in inputs.items()
        }
        alone = {"framepack_cache": BlockCache(both.computed), "cond_or_uncond": [number]}
        torch.testing.assert_close(dit(**single, transformer_options=alone), expected[row : row + 1])


def test_a_batch_is_computed_where_one_of_its_chunks_has_no_residual(dit, dit_cases):
    inputs = dit_cases.make_inputs(batch=2)
    cache = BlockCache({0: torch.zeros(1, 32, 64)})
    options = {"framepack_cache": cache, "cond_or_uncond": [0, 1]}
    assert torch.equal(dit(**inputs, transformer_options=options), dit(**inputs))
    assert sorted(cache.computed) == [0, 1]


def test_a_forward_that_another_node_replaced_is_told():
    with pytest.raises(RuntimeError, match="another node"):
        Signal("past").given()
