"""Guidance arithmetic against the formulas written out, and its bounds."""

from __future__ import annotations

import pytest
import torch
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.run import section_guidance
from framepack_transitions.samplers.guidance import (
    Guidance,
    combine_cfg,
    project_negative,
    rescale_guidance,
)


def test_cfg_extrapolates_from_negative_to_positive():
    assert combine_cfg(torch.tensor(2.0), torch.tensor(1.0), 3.0) == 4.0


def test_cfg_of_one_gives_the_positive_prediction():
    assert Guidance(cfg=1.0).needs_negative is False
    assert Guidance(cfg=1.5).needs_negative is True


def test_the_projected_negative_velocity_is_the_nearest_multiple_to_the_positive_one():
    x = torch.tensor([[10.0, 10.0], [0.0, 0.0]], dtype=torch.float64)
    negative = x - torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    positive = x - torch.tensor([[3.0, 4.0], [2.0, 0.0]], dtype=torch.float64)
    # By hand: (3, 4) on (2, 0) is 1.5 times it; (2, 0) on (1, 1) is once it.
    expected = x - torch.tensor([[3.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    assert torch.equal(project_negative(negative, positive, x), expected)


def test_rescale_restores_the_conditional_velocity_spread():
    torch.manual_seed(0)
    x, positive, guided = (torch.randn(2, 3, 4, 5, 6) for _ in range(3))
    sigma = torch.tensor([0.8, 0.8])
    rescaled = rescale_guidance(guided, positive, x, sigma, amount=1.0)
    spread = ((x - rescaled) / 0.8).std(dim=(1, 2, 3, 4))
    assert torch.allclose(spread, ((x - positive) / 0.8).std(dim=(1, 2, 3, 4)), rtol=1e-4)
    half = rescale_guidance(guided, positive, x, sigma, amount=0.5)
    assert torch.allclose(half, (rescaled + guided) / 2, atol=1e-5)


def test_rescale_of_zero_leaves_the_prediction_untouched():
    guided = torch.randn(1, 2)
    assert rescale_guidance(guided, guided * 2, guided * 3, torch.ones(1), amount=0.0) is guided


@pytest.mark.parametrize(("own", "expected"), [(3.5, 3.5), (0.0, 0.0), (None, 8.0)])
def test_the_guidance_on_a_prompt_wins_over_the_samplers(own, expected):
    text = TextConditioning(torch.zeros(1, 3, 8), torch.zeros(1, 8), guidance=own)
    section = plan_sections("f1", 1, 9)[0]
    prompted = section.with_prompt(Prompt(start=0.0, text="", conditioning=text))
    found = section_guidance(prompted, Guidance(cfg=2.0, distilled=8.0, rescale=0.3))
    assert found == Guidance(cfg=2.0, distilled=expected, rescale=0.3)
    bare = section.with_prompt(Prompt(start=0.0, text=""))
    assert section_guidance(bare, Guidance(distilled=8.0)) == Guidance(distilled=8.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cfg": float("nan")}, "cfg is nan"),
        ({"distilled": -1.0}, "distilled_guidance is -1"),
        ({"rescale": 1.5}, "guidance_rescale is 1.5"),
    ],
)
def test_bad_scales_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Guidance(**values)
