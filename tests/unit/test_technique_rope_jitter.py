"""RoPE jitter: angles of every head against numpy, heads that keep their clock, and that off is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from framepack_transitions.models.attention.policy import AttentionPolicy
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.layers.rope import apply_rope, head_thetas
from framepack_transitions.models.packing import embed_places
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.rope_jitter import RopeJitter
from framepack_transitions.samplers.techniques.base import Step
from framepack_transitions.samplers.techniques.chain import NEUTRAL, attention_at
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

WINDOW, HEADS, AXES = 3, 5, (4, 6, 6)
CPU = torch.device("cpu")
SECTION = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""), change=1.0, since_switch=0)
STEP = Step(0.9, 0.9)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def places(indices, ratio: int = 1, thetas=None) -> torch.Tensor:
    return embed_places(
        torch.tensor(indices), ratio, height=4, width=4, axes_dim=AXES, theta=256.0, thetas=thetas
    )


def thetas(sigma: float) -> torch.Tensor:
    return head_thetas(256.0, torch.tensor(sigma), HEADS, CPU)


def test_every_head_has_a_base_of_its_own_inside_the_range():
    found = head_thetas(256.0, torch.tensor(0.2), 24, CPU).double().numpy()
    offsets = [2 * ((head * (5**0.5 - 1) / 2 + 0.5) % 1) - 1 for head in range(24)]
    assert np.allclose(found, 256 * (1 + 0.2 * np.array(offsets)), rtol=1e-6)
    assert len(set(found)) == 24 and np.ptp(offsets) > 1.8 and abs(np.mean(offsets)) < 0.1


@pytest.mark.parametrize("ratio", [1, 2])
def test_angles_of_every_head_are_numpys(ratio):
    frames = np.array([3, 9])
    found = places(frames, ratio, thetas(0.4)).numpy()
    for head, base in enumerate(thetas(0.4).double().numpy()):
        angles = np.zeros((2, 4, 4, 8))
        grids = np.meshgrid(frames, np.arange(4), np.arange(4), indexing="ij")
        first = 0
        for axis, (grid, dim) in enumerate(zip(grids, AXES)):
            theta = base if axis == 0 else 256.0
            angles[..., first : first + dim // 2] = grid[..., None] / theta ** (np.arange(0, dim, 2) / dim)
            first += dim // 2
        rotation = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        if ratio == 2:
            rotation = rotation.reshape(1, 2, 2, 2, 2, 2, 8, 2).mean(axis=(1, 3, 5))
        assert np.allclose(found[0, :, head], rotation.reshape(-1, 8, 2), atol=1e-5)


def test_heads_without_an_offset_and_a_jitter_of_zero_turn_as_before():
    plain = places([0, 7, 40])
    torch.testing.assert_close(places([0, 7, 40], thetas=thetas(0.9))[:, :, 0], plain, rtol=0, atol=1e-5)
    still = places([0, 7, 40], thetas=thetas(0.0))
    torch.testing.assert_close(still, plain[:, :, None].expand_as(still), rtol=0, atol=1e-5)
    assert not torch.allclose(places([0, 7, 40], thetas=thetas(0.9))[:, :, 1], plain, atol=1e-3)


def test_frames_of_a_batch_keep_their_own_indices():
    both = places([[0, 7], [3, 40]], thetas=thetas(0.3))
    for row, indices in enumerate(([0, 7], [3, 40])):
        assert torch.equal(both[row : row + 1], places(indices, thetas=thetas(0.3)))


def test_heads_are_rotated_by_their_own_and_keep_their_length():
    x, pe = normal(2, 48, HEADS, 16, seed=1), places([0, 7, 40], thetas=thetas(0.5))
    rotated = apply_rope(x, pe)
    for head in range(HEADS):
        alone = apply_rope(x[:, :, head : head + 1], pe[:, :, head])
        assert torch.equal(rotated[:, :, head : head + 1], alone)
    torch.testing.assert_close(rotated.norm(dim=-1), x.norm(dim=-1))


def test_jitter_scales_with_the_change_and_two_are_refused():
    assert attention_at([RopeJitter()], SECTION, STEP) is None
    assert RopeJitter(sigma=0.5, t_end=0.95).attention(SECTION, STEP, NEUTRAL) is NEUTRAL
    half = attention_at([RopeJitter(sigma=0.4)], replace(SECTION, change=0.5), STEP)
    assert half.describe()["rope_jitter"] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="two RoPE jitters"):
        attention_at([RopeJitter(sigma=0.4), RopeJitter(sigma=0.1)], SECTION, STEP)


@pytest.mark.parametrize("values", [{"sigma": -0.1}, {"sigma": 1.0}, {"sigma": float("nan")}, {"t_end": 1.0}])
def test_values_that_cannot_work_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        RopeJitter(**values)


# In the model and the sampler


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


@pytest.mark.parametrize("batch", [1, 2])
def test_without_jitter_and_with_none_of_it_the_model_says_the_same(dit_cases, batch):
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs(batch=batch)
    with torch.inference_mode():
        plain = dit(**inputs)
        none, some = (
            dit(**inputs, transformer_options={"framepack_attention": AttentionPolicy(rope_jitter=jitter)})
            for jitter in (torch.tensor(0.0), torch.tensor(0.9))
        )
    torch.testing.assert_close(none, plain, rtol=1e-4, atol=1e-4)
    assert some.shape == plain.shape and not torch.allclose(some, plain, rtol=1e-4, atol=1e-4)


def sample(model, *techniques, layout: str = "f1", switch: bool = True, batch: int = 1):
    for technique in techniques:
        model = with_technique(model, technique)
    old, new = (
        TextConditioning(normal(batch, 5, 24, seed=seed), normal(batch, 20, seed=seed + 1)) for seed in (1, 3)
    )
    prompts = [
        Prompt(start=0.0, text="old", conditioning=old, change=0.0),
        Prompt(start=0.4, text="new", conditioning=new),
    ]
    start, image = normal(batch, 16, 1, 8, 8, seed=5), normal(batch, 4, 12, seed=9)
    with torch.inference_mode():
        return sample_sections(
            PlainDriver(model),
            assign_prompts(plan_sections(layout, 2, WINDOW), prompts[: 1 + switch]),
            SampleInputs(start=start, has_start=True, negative=old, image_embeds=image),
            SampleSettings(layout=layout, window=WINDOW, steps=2, seed=7),
        )[0]


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_off_and_without_a_switch_nothing_changes(model, layout):
    plain = sample(model, layout=layout)
    assert torch.equal(sample(model, RopeJitter(apply_to="all"), layout=layout), plain)
    quiet = sample(model, RopeJitter(sigma=0.5), layout=layout, switch=False)
    assert torch.equal(quiet, sample(model, layout=layout, switch=False))
    assert not torch.equal(sample(model, RopeJitter(sigma=0.5), layout=layout), plain)


@settings(max_examples=8, deadline=None)
@given(st.floats(0, 0.9), st.floats(0, 0.9))
def test_no_setting_breaks_the_latents_or_touches_what_is_older_than_the_switch(model, sigma, t_end):
    plain = sample(model, batch=2)
    after_the_switch, everywhere = (
        sample(model, RopeJitter(apply_to=apply_to, sigma=sigma, t_end=t_end), batch=2)
        for apply_to in ("transition", "all")
    )
    for latents, older in ((after_the_switch, 1 + WINDOW), (everywhere, 1)):
        assert latents.shape == plain.shape and latents.isfinite().all()
        assert torch.equal(latents[:, :, :older], plain[:, :, :older])
