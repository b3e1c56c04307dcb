"""FramePack Step Cache through ComfyUI's own sampling: exact counts, batches of predictions, and other nodes beside it."""

from __future__ import annotations

import importlib

import pytest
import torch

pytestmark = pytest.mark.host

STEPS = 12
COMPUTED = (
    5  # of a section: steps 0, 3, 6, 9 and the last one; the section after the switch is computed in full
)


def cached(tiny, model=None, **changes):
    """The MODEL behind the node; whatever the signals are, every third step is computed."""
    values = {
        "mode": "history",
        "threshold": 10.0,
        "dense": 1,
        "longest_run": 2,
        "first": 0.0,
        "correction": "steady",
        "magnitudes": "",
    }
    return tiny.call("FramePackStepCache", model=model or tiny.model, **{**values, **changes})[0]


@pytest.fixture
def rows(tiny):
    """How many predictions the last block has computed."""
    counted = []
    block = tiny.model.model.diffusion_model.single_transformer_blocks[-1]
    handle = block.register_forward_hook(lambda module, args, output: counted.append(output.shape[0]))
    yield counted
    handle.remove()


@pytest.mark.parametrize("layout", ["f1", "original"])
@pytest.mark.parametrize(("mode", "magnitudes"), [("history", ""), ("magcache", "1 1"), ("teacache", "")])
def test_reused_steps_run_no_blocks(tiny, rows, mode, magnitudes, layout):
    latents = tiny.sample(cached(tiny, mode=mode, magnitudes=magnitudes), steps=STEPS, layout=layout)
    assert sum(rows) == COMPUTED + STEPS and latents.isfinite().all()


def test_predictions_of_one_batch_are_reused_together(tiny, rows):
    tiny.sample(cached(tiny), steps=STEPS, cfg=2.0)
    assert sum(rows) == 2 * (COMPUTED + STEPS)


def test_a_cache_that_reuses_nothing_changes_no_bit(tiny):
    expected = tiny.sample(tiny.model, steps=4, cfg=2.0)
    assert torch.equal(tiny.sample(cached(tiny, threshold=1e-9), steps=4, cfg=2.0), expected)
    assert torch.equal(tiny.sample(cached(tiny, threshold=0.0), steps=4, cfg=2.0), expected)


def test_the_video_stays_nearly_the_same(tiny, rows):
    expected = tiny.sample(tiny.model, steps=20)
    before = sum(rows)
    latents = tiny.sample(cached(tiny, threshold=0.2, longest_run=3, first=0.1), steps=20)
    assert before == 40 and sum(rows) - before <= 20 + 10
    error = (tiny.vae.decode(latents) - tiny.vae.decode(expected)).square().mean()
    assert float(-10 * torch.log10(error)) >= 30


def test_a_negative_prediction_for_other_nodes_is_reused_too(tiny, rows):
    model = cached(tiny)
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"], disable_cfg1_optimization=True)
    tiny.sample(model, steps=STEPS)
    assert sum(rows) == 2 * (COMPUTED + STEPS)


def test_what_guidance_functions_evaluate_is_always_computed(tiny, rows):
    import comfy.samplers

    def evaluate_again(args):
        comfy.samplers.calc_cond_batch(
            args["model"], [args["cond"]], args["input"], args["sigma"], args["model_options"]
        )
        return args["denoised"]

    model = cached(tiny)
    model.set_model_sampler_post_cfg_function(evaluate_again)
    tiny.sample(model, steps=STEPS)
    assert sum(rows) == COMPUTED + STEPS + 2 * STEPS


def test_nothing_is_reused_where_another_node_evaluates_the_step(tiny, rows):
    import comfy.samplers

    model = cached(tiny)
    model.set_model_sampler_calc_cond_batch_function(
        lambda args: comfy.samplers.calc_cond_batch(
            args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
        )
    )
    tiny.sample(model, steps=STEPS)
    assert sum(rows) == 2 * STEPS


def test_wrappers_of_other_nodes_see_predictions_alone(tiny):
    kind = importlib.import_module("comfy.patcher_extension").WrappersMP.DIFFUSION_MODEL
    calls = []
    model = cached(tiny)
    model.add_wrapper_with_key(kind, "test", lambda executor, *a, **k: calls.append(1) or executor(*a, **k))
    tiny.sample(model, steps=STEPS)
    assert len(calls) == 2 * STEPS


def test_the_study_puts_the_hosts_caches_behind_the_techniques(tiny):
    from framepack_transitions.benchmarks.caching.arms import HOST

    for arm in HOST:
        options = arm.model(tiny.model).model_options["transformer_options"]
        assert type(options["easycache"]).__name__.startswith(arm.host[0])
        assert len(options["framepack_techniques"]) == 2


@pytest.mark.parametrize("name", ["EasyCache", "LazyCache"])
def test_a_second_step_cache_is_refused_by_name(tiny, name):
    node = getattr(importlib.import_module("comfy_extras.nodes_easycache"), f"{name}Node")
    both = node.execute(cached(tiny), 0.2, 0.15, 0.95, False).args[0]
    with pytest.raises(ValueError, match=f"{name} and FramePack Step Cache"):
        tiny.sample(both, steps=4)
