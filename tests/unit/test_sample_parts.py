"""The loop in parts: a run that goes on from what another left, and videos with noise of their own."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.schedules import run_schedule
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.noise import section_seed
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(batch: int = 1) -> SampleInputs:
    text = TextConditioning(normal(batch, 5, 24, seed=1), normal(batch, 20, seed=2))
    return SampleInputs(
        start=normal(batch, 16, 1, 8, 8, seed=3),
        has_start=True,
        negative=text,
        image_embeds=normal(batch, 4, 12, seed=4),
        end_image_embeds=normal(batch, 4, 12, seed=5),
    )


def plan(layout: str, count: int, text: TextConditioning) -> list:
    return [
        section.with_prompt(Prompt(start=0.0, text="", conditioning=text))
        for section in plan_sections(layout, count, WINDOW)
    ]


@pytest.fixture(scope="module")
def driver(upstream) -> PlainDriver:
    return PlainDriver(PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5))


def sample(driver, sections, given, **settings):
    return sample_sections(
        driver, sections, given, SampleSettings(**{"window": WINDOW, "steps": 2, "seed": 7, **settings})
    )


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_a_run_that_continues_gives_what_the_whole_run_gives(driver, layout):
    given = inputs()
    sections = plan(layout, 3, given.negative)
    whole, trace = sample(driver, sections, given, layout=layout)
    early = [section.latents for section in sections[:1]]
    past = torch.cat([whole[:, :, first:last] for first, last in early], dim=2)
    rest, rest_trace = sample(driver, sections[1:], replace(given, earlier_sections=past), layout=layout)
    assert torch.equal(rest, whole)
    assert [s["index"] for s in rest_trace["sections"]] == [1, 2]
    assert rest_trace["latent_frames"] == trace["latent_frames"] == 1 + 3 * WINDOW


@pytest.mark.parametrize("latent_frames", [None, WINDOW - 1, 2 * WINDOW])
def test_a_past_of_another_length_is_refused(driver, latent_frames):
    given = inputs()
    past = None if latent_frames is None else normal(1, 16, latent_frames, 8, 8, seed=6)
    with pytest.raises(ValueError, match=f"the past holds {latent_frames or 0} latent frames, but section 2"):
        sample(driver, plan("f1", 2, given.negative)[1:], replace(given, earlier_sections=past))


def test_with_seeds_of_their_own_videos_do_not_depend_on_the_batch(driver):
    both = inputs(batch=2)
    video, _ = sample(driver, plan("f1", 2, both.negative), both, seeds=(7, 8))
    for row, seed in enumerate((7, 8)):
        text = TextConditioning(both.negative.states[row : row + 1], both.negative.pooled[row : row + 1])
        alone = SampleInputs(
            start=both.start[row : row + 1],
            has_start=True,
            negative=text,
            image_embeds=both.image_embeds[row : row + 1],
            end_image_embeds=both.end_image_embeds[row : row + 1],
        )
        expected, _ = sample(driver, plan("f1", 2, text), alone, seed=seed)
        assert torch.allclose(video[row : row + 1], expected, atol=1e-4)


def test_seeds_that_are_not_as_many_as_the_videos_are_refused(driver):
    given = inputs(batch=2)
    with pytest.raises(ValueError, match="1 seeds were given for a batch of 2"):
        sample(driver, plan("f1", 1, given.negative), given, seeds=(7,))


def test_a_prompt_that_was_only_planned_is_not_sampled(driver):
    section = plan_sections("f1", 1, WINDOW)[0].with_prompt(Prompt(start=0.0, text="a dog"))
    with pytest.raises(ValueError, match="the prompt 'a dog' at 0 s has no conditioning"):
        sample(driver, [section], inputs())


def test_the_seeds_of_stochastic_solvers_count_on_from_the_runs_and_stay_in_64_bits():
    assert section_seed(SampleSettings(seed=1000), 3) == 1003
    assert section_seed(SampleSettings(seed=2**64 - 1), 2) == 1


@pytest.mark.parametrize(("size", "tokens"), [((9, 32, 32), 2304), ((5, 8, 12), 120)])
def test_the_automatic_shift_counts_a_windows_tokens_of_two_by_two_latents(size, tokens):
    mu = 0.5 + (1.15 - 0.5) / (4096 - 256) * (tokens - 256)
    schedule = run_schedule((1, 16, *size), SampleSettings(shift=0.0), None)
    assert schedule.shift == pytest.approx(exp(mu), rel=1e-12)
    assert run_schedule((1, 16, *size), SampleSettings(shift=2.5), None).shift == 2.5
