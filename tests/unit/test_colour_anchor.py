"""The colour anchor: against numpy in float64, where it waits, and that off is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.colour_anchor import (
    anchor_colours,
    sections_of_scene,
    with_colours,
)
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.plan import DIRECTIONS, plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.timeline.assignment import assign_prompts

LAYOUTS = ("f1", "original")
WINDOW = 3


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


def planned(layout: str, count: int, *starts: float, cut: bool = False):
    prompts = [
        Prompt(start=start, text=f"at {start:g}", conditioning=text(number), cut=cut and start > 0)
        for number, start in enumerate((0.0, *starts))
    ]
    return assign_prompts(plan_sections(layout, count, WINDOW), prompts)


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_each_channel_gets_mean_and_spread_of_the_reference(strength):
    latents = 1.1 * normal(2, 16, 3, 4, 4, seed=1) + 0.3
    reference = normal(2, 16, 9, 4, 4, seed=2)
    z, r = latents.double().numpy(), reference.double().numpy()
    gain = r.std((2, 3, 4), keepdims=True) / z.std((2, 3, 4), keepdims=True)
    moved = (z - z.mean((2, 3, 4), keepdims=True)) * np.clip(gain, 0.8, 1.25) + r.mean(
        (2, 3, 4), keepdims=True
    )
    expected = (1 - strength) * z + strength * moved
    assert np.allclose(with_colours(latents, reference, strength).numpy(), expected, atol=1e-5)


def test_its_own_colours_stay_and_a_second_time_changes_nothing():
    latents, reference = normal(1, 16, 3, 16, 16, seed=1), 1.1 * normal(1, 16, 3, 16, 16, seed=2)
    torch.testing.assert_close(with_colours(latents, latents, 1.0), latents)
    once = with_colours(latents, reference, 1.0)
    torch.testing.assert_close(with_colours(once, reference, 1.0), once)
    flat = torch.full((1, 16, 3, 4, 4), 0.5)
    assert with_colours(flat, reference, 1.0).isfinite().all(), "a channel without spread has no gain"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gain_that_grows_with_every_section_is_taken_out_of_the_memory(layout):
    """Every section spreads 3 % more than the one before it, as if each were drawn from what it remembers."""
    sections = planned(layout, 8)
    history = History(DIRECTIONS[layout], normal(1, 16, 1, 4, 4, seed=9))
    start, drawn = history.memory.start.clone(), normal(1, 16, WINDOW, 4, 4, seed=20)
    for number, section in enumerate(sections):
        anchor_colours(history, section, 1.0)
        if number > 2:
            torch.testing.assert_close(history.recent(WINDOW), 1.03 * drawn)
        history.append(1.03**number * drawn)
    assert torch.equal(history.memory.start, start)
    shown = [section.std().item() for section in history.sections]
    assert shown == pytest.approx([1.03**n * shown[0] for n in range(8)]), "the video keeps its own"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cut", [False, True])
def test_a_scene_is_what_came_since_the_switch_or_the_cut(layout, cut):
    sections = planned(layout, 6, 0.8, cut=cut)  # two sections before it, four after it
    made = [torch.zeros(1, 16, WINDOW, 1, 1) for _ in sections]
    counts = [len(sections_of_scene(made[:n], section)) for n, section in enumerate(sections)]
    assert counts == ([0, 1, 0, 1, 2, 3] if layout == "f1" else [0, 1, 2, 3, 0, 1])


def test_a_blend_is_waited_for():
    (section,) = planned("f1", 4)[3:]
    history = History(DIRECTIONS["f1"], normal(1, 16, 1, 4, 4, seed=9))
    for number in range(3):
        history.append(normal(1, 16, WINDOW, 4, 4, seed=number))
    before = history.memory.remembered.clone()
    blended = replace(section, prompt=replace(section.prompt, blend=1))
    anchor_colours(history, blended, 1.0)
    assert torch.equal(history.memory.remembered, before)
    anchor_colours(history, section, 1.0)
    assert not torch.equal(history.memory.remembered, before)


# In the sampler


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def sample(model, sections, layout: str, strength: float) -> torch.Tensor:
    inputs = SampleInputs(start=normal(1, 16, 1, 8, 8, seed=5), has_start=True, negative=text(7))
    settings = SampleSettings(layout=layout, window=WINDOW, steps=2, seed=7, colour_anchor=strength)
    with torch.inference_mode():
        return sample_sections(PlainDriver(model), sections, inputs, settings)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_three_sections_of_a_scene_are_left_alone_and_the_fourth_is_not(model, layout):
    sections = planned(layout, 4)
    off, on = (sample(model, sections, layout, strength) for strength in (0.0, 1.0))
    fourth = slice(10, 13) if layout == "f1" else slice(1, 4)
    same = [number for number in range(13) if torch.equal(off[:, :, number], on[:, :, number])]
    assert same == [number for number in range(13) if number not in range(*fourth.indices(13))]
    assert on.isfinite().all()


def test_nothing_happens_where_scenes_are_short(model):
    sections = planned("f1", 4, 0.8)
    assert torch.equal(sample(model, sections, "f1", 1.0), sample(model, sections, "f1", 0.0))


def test_other_strengths_are_refused():
    with pytest.raises(ValueError, match="colour_anchor is 1.5; give a value from 0"):
        SampleSettings(colour_anchor=1.5)
