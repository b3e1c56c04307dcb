"""Sections by direct calls of the model: what the driver hands over, against runs that need none of it."""

from __future__ import annotations

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def driver(upstream) -> PlainDriver:
    return PlainDriver(PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5))


def sample(driver: PlainDriver, positive: TextConditioning, negative: TextConditioning) -> torch.Tensor:
    inputs = SampleInputs(start=normal(1, 16, 1, 8, 8, seed=3), has_start=True, negative=negative)
    prompt = Prompt(start=0.0, text="", conditioning=positive)
    sections = [section.with_prompt(prompt) for section in plan_sections("f1", 1, WINDOW)]
    settings = SampleSettings(window=WINDOW, steps=2, seed=7, guidance=Guidance(cfg=2.0))
    return sample_sections(driver, sections, inputs, settings)[0]


@pytest.mark.parametrize("name", ["positive", "negative"])
def test_padding_that_a_mask_marks_does_not_change_the_video(driver, name):
    texts = {
        key: TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))
        for key, seed in (("positive", 1), ("negative", 5))
    }
    states, pooled = texts[name].states, texts[name].pooled
    padded = torch.cat([states, normal(1, 2, 24, seed=9)], dim=1)
    mask = torch.tensor([[True] * 5 + [False] * 2])
    expected = sample(driver, **texts)
    masked = sample(driver, **{**texts, name: TextConditioning(padded, pooled, mask)})
    torch.testing.assert_close(masked, expected, atol=1e-5, rtol=1e-5)
    unmasked = sample(driver, **{**texts, name: TextConditioning(padded, pooled)})
    assert (unmasked - expected).abs().max() > 1e-3
