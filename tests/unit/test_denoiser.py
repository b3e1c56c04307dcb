"""One step of a section: which predictions are asked for, how, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.denoiser import SectionDenoiser
from framepack_transitions.samplers.denoising.drivers.base import attention_options
from framepack_transitions.samplers.denoising.evaluating.branch import Branch
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance

SECTION = plan_sections("f1", 2, 3)[1].with_prompt(
    Prompt(start=0.0, text="new"), previous=Prompt(start=0.0, text="old"), change=1.0, since_switch=0
)
CLEAN = torch.ones(1, 16, 2, 2, 2)
X, SIGMA = torch.zeros(1, 16, 3, 2, 2), torch.tensor([0.9])
# What the model is made to predict, by the text that it is given.
PREDICTED = {"positive": 1.0, "negative": 0.25, "previous": -1.0}


class Model:
    """Stands in for the model: keeps what it is asked, and predicts PREDICTED."""

    def __init__(self) -> None:
        self.asked: list[Branch] = []

    def __call__(
        self, branches: Sequence[Branch], x: torch.Tensor, sigma: torch.Tensor
    ) -> list[torch.Tensor]:
        self.asked += branches
        return [torch.full_like(x, PREDICTED[branch.text]) for branch in branches]


def denoiser(cfg: float, **values: Any) -> SectionDenoiser:
    context = Context(indices=SECTION.indices, clean=CLEAN)
    return SectionDenoiser(
        section=SECTION, context=context, guidance=Guidance(cfg=cfg, distilled=7.0), **values
    )


def test_without_real_guidance_the_prompt_alone_is_asked_for() -> None:
    model, one = Model(), denoiser(1.0)
    assert (one(X, SIGMA, model) == 1).all()
    (branch,) = model.asked
    assert (branch.text, branch.past, branch.distilled, branch.guided) == ("positive", "full", 7.0, True)
    assert branch.context.clean is CLEAN and branch.probe is None and one.evaluations == 1


def test_real_guidance_moves_from_the_negative_prediction_through_the_positive_one() -> None:
    model, one = Model(), denoiser(3.0)
    assert (one(X, SIGMA, model) == 0.25 + 3 * (1 - 0.25)).all()
    assert [(branch.text, branch.guided) for branch in model.asked] == [
        ("positive", True),
        ("negative", True),
    ]
    assert one.evaluations == 2


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_what_a_technique_asks_for_comes_last_and_is_not_guided(cfg: float) -> None:
    model = Model()
    one = denoiser(cfg, techniques=[ContrastiveGuidance(omega=0.5)])
    guided = 1 if cfg == 1 else 0.25 + 3 * (1 - 0.25)
    assert (one(X, SIGMA, model) == guided + 0.5 * (1 - -1)).all()
    texts = ["positive"] if cfg == 1 else ["positive", "negative"]
    assert [branch.text for branch in model.asked] == [*texts, "previous"]
    assert [branch.guided for branch in model.asked] == [True] * len(texts) + [False]


def test_what_is_measured_is_the_attention_under_the_prompt() -> None:
    model = Model()
    denoiser(3.0, measure=True, techniques=[ContrastiveGuidance()])(X, SIGMA, model)
    assert [branch.probe is not None for branch in model.asked] == [True, False, False]


def test_the_host_combines_the_guided_predictions_itself() -> None:
    def combine(positive: torch.Tensor, negative: torch.Tensor | None, scale: float) -> torch.Tensor:
        return positive + 10 * (0 if negative is None else negative) + 100 * scale

    assert (denoiser(3.0)(X, SIGMA, Model(), combine) == 1 + 2.5 + 300).all()
    assert (denoiser(1.0)(X, SIGMA, Model(), combine) == 1 + 100).all()


def test_attention_that_is_left_alone_needs_no_options() -> None:
    model = Model()
    denoiser(1.0)(X, SIGMA, model)
    assert attention_options(model.asked[0]) == {}
    kept = {"start": torch.tensor([[0]])}
    some = replace(model.asked[0], context=replace(model.asked[0].context, tokens=kept))
    assert attention_options(some) == {"framepack_tokens": kept}
