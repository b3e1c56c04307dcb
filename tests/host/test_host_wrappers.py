"""Wrappers of other nodes around the model, and ComfyUI's step caches, which are such wrappers."""

from __future__ import annotations

import importlib
import logging
import re

import pytest
import torch

pytestmark = pytest.mark.host
BEFORE_SWITCH = 10  # latent frames: the start image and the first section


def psnr(tiny, one, other) -> float:
    """Of two latents' videos, in dB."""
    error = (tiny.vae.decode(one) - tiny.vae.decode(other)).square().mean()
    return float(-10 * torch.log10(error))


def cached(model, name: str, threshold: float = 0.2, start: float = 0.15, end: float = 0.95):
    """The MODEL behind ComfyUI's EasyCache or LazyCache node."""
    node = getattr(importlib.import_module("comfy_extras.nodes_easycache"), f"{name}Node")
    return node.execute(model, threshold, start, end, False).args[0]


def wrapped(model, wrapper):
    model = model.clone()
    kind = importlib.import_module("comfy.patcher_extension").WrappersMP.DIFFUSION_MODEL
    model.add_wrapper_with_key(kind, "test", wrapper)
    return model


@pytest.mark.timeout(300)
@pytest.mark.parametrize("preset", ["none", "mild", "balanced"])
@pytest.mark.parametrize("name", ["EasyCache", "LazyCache"])
def test_step_caches_skip_and_the_video_stays(tiny, caplog, name, preset):
    """After the switch, which a preset brings or just fails to bring, rounding alone can decide what is drawn."""
    model = tiny.model
    if preset != "none":
        (model,) = tiny.call("FramePackTransitionPreset", model=model, preset=preset, sections=0)
    expected = tiny.sample(model, steps=20)
    with caplog.at_level(logging.INFO):
        latents = tiny.sample(cached(model, name), steps=20)
    skipped = [int(number) for number in re.findall(r"skipped (\d+)/20", caplog.text)]
    assert len(skipped) == 2 and min(skipped) >= 5
    compared = latents.shape[2] if preset == "none" else BEFORE_SWITCH
    assert psnr(tiny, latents[:, :, :compared], expected[:, :, :compared]) >= 35


@pytest.mark.parametrize(("end", "skipped"), [(0.95, 12), (1.0, 17)])
def test_lazy_cache_skips_none_of_the_last_steps_unless_it_is_told_to(tiny, caplog, end, skipped):
    model = cached(tiny.model, "LazyCache", threshold=3.0, start=0.0, end=end)
    with caplog.at_level(logging.INFO):
        tiny.sample(model, steps=20, seconds=1.2, timeline=None)
    # The first three steps fill the cache and the rate by which it judges; the last five are the last quarter.
    assert re.findall(r"skipped (\d+)/20", caplog.text) == [str(skipped)]


def test_a_step_cache_evaluates_what_a_technique_asks_for_in_mid_section(tiny, caplog):
    from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance
    from framepack_transitions.samplers.techniques.wiring import with_technique

    technique = ContrastiveGuidance(omega=1.0, history=1.5, t_start=0.6, t_end=0.3)
    model = with_technique(tiny.model, technique)
    expected = tiny.sample(model, steps=20)
    with caplog.at_level(logging.INFO):
        latents = tiny.sample(cached(model, "EasyCache"), steps=20)
    assert all(int(number) >= 5 for number in re.findall(r"skipped (\d+)/20", caplog.text))
    assert psnr(tiny, latents, expected) >= 35


def test_a_wrapper_sees_every_forward_as_core_models_call_it(tiny):
    calls = []

    def count(executor, *args, **kwargs):
        calls.append((executor.class_obj, args[0].shape, args[-1]["cond_or_uncond"]))
        return executor(*args, **kwargs)

    expected = tiny.sample(tiny.model)
    assert torch.equal(tiny.sample(wrapped(tiny.model, count)), expected)
    dit, shape, kinds = calls[0]
    assert len(calls) == 2 * 4 and dit is tiny.model.model.diffusion_model
    assert shape == (1, 16, 9, 8, 8) and kinds == [0]


def test_a_wrapper_may_change_x_in_place(tiny):
    def spoil(executor, x, *args, **kwargs):
        output = executor(x, *args, **kwargs)
        x.zero_()
        return output

    assert torch.equal(tiny.sample(wrapped(tiny.model, spoil)), tiny.sample(tiny.model))


def test_every_prediction_of_a_step_has_a_uuid_of_its_own_that_stays(tiny):
    from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance
    from framepack_transitions.samplers.techniques.wiring import with_technique

    steps: dict[float, list] = {}

    def record(executor, *args, **kwargs):
        options = args[-1]
        steps.setdefault(float(options["sigmas"][0]), []).extend(options["uuids"])
        return executor(*args, **kwargs)

    model = with_technique(
        wrapped(tiny.model, record), ContrastiveGuidance(history=1.5, t_end=0.0, apply_to="all")
    )
    tiny.sample(model, seconds=1.2, timeline=None, cfg=2.0)
    assert {len(uuids) for uuids in steps.values()} == {3}
    (together,) = {frozenset(uuids) for uuids in steps.values()}
    assert len(together) == 3
