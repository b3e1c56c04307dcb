"""The transformer under torch.compile, whole and block by block."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest
import torch
from framepack_transitions.models.attention.joint import Segments, sdpa_attention
from framepack_transitions.models.attention.policy import AttentionPolicy, TokenRule
from framepack_transitions.models.attention.probe import Probe
from framepack_transitions.models.caching.step_cache import BlockCache, Signal
from framepack_transitions.models.kept_work import KeptWork
from torch import Tensor
from torch._dynamo.testing import CompileCounter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        torch.__version__.startswith("2.4."),
        reason="torch 2.4 compiles every block anew, and for every length of the text",
    ),
]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Any:
    torch._dynamo.reset()
    with torch.inference_mode():
        yield
    torch._dynamo.reset()


def step_options(step: int) -> dict[str, Any]:
    """What changes from step to step, as hosts and techniques pass it."""
    return {"sigmas": torch.full((1,), 0.9 - 0.1 * step), "framepack_gate": torch.tensor(-0.5 * step)}


def gated_attention(q: Tensor, k: Tensor, v: Tensor, *, segments: Segments, **told: Any) -> Tensor:
    """Adds the step's bias to the past: enough of a gate to need segments and options inside the graph."""
    past = torch.arange(k.shape[2], device=k.device) < segments.span("noisy").start
    bias = torch.where(past, told["transformer_options"]["framepack_gate"], 0.0).to(q.dtype)
    if told["mask"] is not None:
        bias = bias.masked_fill(~told["mask"], float("-inf"))
    return sdpa_attention(q, k, v, mask=bias.expand(q.shape[0], 1, q.shape[2], -1))


@pytest.mark.parametrize("attention", [sdpa_attention, gated_attention])
def test_each_block_compiles_as_one_graph(attention: Any, dit_cases: ModuleType) -> None:
    dit = dit_cases.make_dit(num_layers=2, num_single_layers=3, attention=attention)
    compiled, counter = copy.deepcopy(dit), CompileCounter()
    for stack in (compiled.transformer_blocks, compiled.single_transformer_blocks):
        for index, block in enumerate(stack):
            stack[index] = torch.compile(block, fullgraph=True, backend=counter)
    for step, length in enumerate((5, 5, 8, 11, 9)):
        inputs = dit_cases.make_inputs(text=length, batch=2)
        inputs["attention_mask"] = torch.arange(length) < torch.tensor(((length,), (2,)))
        options = step_options(step)
        torch.testing.assert_close(
            compiled(**inputs, transformer_options=options), dit(**inputs, transformer_options=options)
        )
    # A double, a single and the last block: once each, and once more when the text's length changes.
    assert counter.frame_count <= 6


def test_the_whole_forward_compiles_as_one_graph(dit_cases: ModuleType) -> None:
    dit, counter = dit_cases.make_dit(), CompileCounter()
    compiled = torch.compile(dit, fullgraph=True, backend=counter)
    for step in range(3):
        inputs = dit_cases.make_inputs(height=9)
        options = {**step_options(step), "framepack_kept_work": KeptWork()}  # one a section
        torch.testing.assert_close(
            compiled(**inputs, transformer_options=options), dit(**inputs, transformer_options=options)
        )
    assert counter.frame_count == 1


def policies(step: int) -> dict[str, AttentionPolicy]:
    """The techniques' own ways to attend, with the values of one step."""
    value = torch.tensor(0.2 + 0.05 * step)
    weights = {"start": torch.linspace(0, 1, 16)[None] * value, "4x": torch.ones(1, 4) * value}
    gated = {"segments": frozenset({"start", "4x"}), "source": "moving", "weights": weights}
    return {
        "bias": AttentionPolicy(
            biases=((frozenset({"start", "last"}), -value), (frozenset({"4x"}), -2 * value))
        ),
        "cap": AttentionPolicy(cap=value),
        "drop": AttentionPolicy(dropped=frozenset({"4x", "2x"})),
        "key_scale": AttentionPolicy(key_scale=1 + value),
        "rope_jitter": AttentionPolicy(rope_jitter=value),
        "bias by token": AttentionPolicy(by_token=(TokenRule(kind="bias", bias=-value, **gated),)),
        "cap by token": AttentionPolicy(
            cap=value, capped=frozenset(), by_token=(TokenRule(kind="cap", **gated),)
        ),
    }


@pytest.mark.parametrize("kind", policies(0))
def test_a_policy_compiles_once_for_all_steps(kind: str, dit_cases: ModuleType) -> None:
    dit, counter = dit_cases.make_dit(), CompileCounter()
    compiled = torch.compile(dit, fullgraph=True, backend=counter)
    inputs = dit_cases.make_inputs()
    for step in range(10):
        options = {"framepack_attention": policies(step)[kind]}
        torch.testing.assert_close(
            compiled(**inputs, transformer_options=options), dit(**inputs, transformer_options=options)
        )
    assert counter.frame_count == 1


def test_measuring_and_chosen_tokens_compile_once_for_all_steps(dit_cases: ModuleType) -> None:
    dit, counter = dit_cases.make_dit(), CompileCounter()
    compiled = torch.compile(dit, fullgraph=True, backend=counter)
    inputs = dit_cases.make_inputs()
    for step in range(5):
        options = {
            "framepack_attention": policies(step)["bias"],
            "framepack_tokens": {
                "start": torch.tensor([[step, 6, 9]]),
                "2x": torch.empty(1, 0, dtype=torch.int64),
            },
            "framepack_kv_mask": {"last": (torch.arange(16) != step)[None].float()},
        }
        there, here = Probe(tokens=True), Probe(tokens=True)
        torch.testing.assert_close(
            compiled(**inputs, transformer_options={**options, "framepack_probe": there}),
            dit(**inputs, transformer_options={**options, "framepack_probe": here}),
        )
        torch.testing.assert_close(there.measured[0].of_segments, here.measured[0].of_segments)
        torch.testing.assert_close(there.measured[0].of_tokens, here.measured[0].of_tokens)
    assert counter.frame_count == 1


def test_measured_blocks_compile_as_one_graph_each(dit_cases: ModuleType) -> None:
    dit = dit_cases.make_dit(num_layers=2, num_single_layers=3)
    compiled, counter = copy.deepcopy(dit), CompileCounter()
    for stack in (compiled.transformer_blocks, compiled.single_transformer_blocks):
        for index, block in enumerate(stack):
            stack[index] = torch.compile(block, fullgraph=True, backend=counter)
    inputs = dit_cases.make_inputs()
    for step in range(4):
        there, here = Probe(), Probe()
        policy = policies(step)["bias"]
        for model, probe in ((compiled, there), (dit, here)):
            model(**inputs, transformer_options={"framepack_attention": policy, "framepack_probe": probe})
        torch.testing.assert_close(there.measured[0].of_segments, here.measured[0].of_segments)
    # A double, a single and the last block.
    assert counter.frame_count <= 3


def compiled_blocks(dit: Any, backend: Any) -> Any:
    """A copy whose blocks are compiled one by one, as nodes for compilation do it."""
    compiled = copy.deepcopy(dit)
    for block in (*compiled.transformer_blocks, *compiled.single_transformer_blocks):
        block.compile(backend=backend, fullgraph=True)
    return compiled


def compiled_whole(dit: Any, backend: Any) -> Any:
    return torch.compile(dit, fullgraph=True, backend=backend)


@pytest.mark.parametrize(("compiled_by", "kinds"), [(compiled_whole, 1), (compiled_blocks, 3)])
@pytest.mark.parametrize("kind", ["bias", "bias by token"])
def test_a_first_gate_costs_one_recompile_of_each_kind_of_block(
    compiled_by: Any, kinds: int, kind: str, dit_cases: ModuleType
) -> None:
    """The kinds are a double block, a single one, and the last, which gives the window alone."""
    dit, counter = dit_cases.make_dit(num_layers=3, num_single_layers=4), CompileCounter()
    compiled, inputs = compiled_by(dit, counter), dit_cases.make_inputs()
    compiled(**inputs, transformer_options={})
    assert counter.frame_count == kinds
    for step in range(6):  # with a gate and without one in turn, as at the edges of its window
        options = {"framepack_attention": policies(step)[kind]} if step % 2 == 0 else {}
        torch.testing.assert_close(
            compiled(**inputs, transformer_options=options), dit(**inputs, transformer_options=options)
        )
    assert counter.frame_count == 2 * kinds


def test_a_step_cache_breaks_no_graph(dit_cases: ModuleType) -> None:
    """One graph for computed steps, one for reused ones and one for what the cache asks."""
    dit, counter = dit_cases.make_dit(), CompileCounter()
    compiled = torch.compile(dit, fullgraph=True, backend=counter)
    for _ in range(3):
        inputs = dit_cases.make_inputs()
        there, here = BlockCache(), BlockCache()
        for model, cache in ((compiled, there), (dit, here)):
            model(**inputs, transformer_options={"framepack_cache": cache, "cond_or_uncond": [0]})
        torch.testing.assert_close(there.computed[0], here.computed[0])
        options = {"framepack_cache": BlockCache(here.computed), "cond_or_uncond": [0]}
        torch.testing.assert_close(
            compiled(**inputs, transformer_options=options), dit(**inputs, transformer_options=options)
        )
        asked, expected = Signal("past"), Signal("past")
        for model, signal in ((compiled, asked), (dit, expected)):
            model(**inputs, transformer_options={"framepack_signal": signal})
        torch.testing.assert_close(asked.given(), expected.given())
    assert counter.frame_count == 3


def test_of_each_kind_of_block_a_gate_makes_one_more_variant(dit_cases: ModuleType) -> None:
    """Compilers give up on a forward after some variants, and compile it for all blocks that share it."""
    dit = dit_cases.make_dit(num_layers=3, num_single_layers=4)
    compiled, inputs = compiled_blocks(dit, CompileCounter()), dit_cases.make_inputs()
    with torch._dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True):
        compiled(**inputs, transformer_options={})
        compiled(**inputs, transformer_options={"framepack_attention": policies(0)["bias"]})
