"""Every hook of a technique is called when it should be, and what it gives is used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, islice

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices, original_indices
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.noise import section_noises
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.base import (
    POSITIVE,
    AttachmentKey,
    Prediction,
    Schedule,
    Technique,
    attachment,
)
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def sample(
    model: PlainModel,
    technique: Technique | None = None,
    sigmas=None,
    *,
    settings=SampleSettings(window=WINDOW, steps=3, seed=7),
    initial=None,
    **objects,
):
    """Two sections with a switch between them."""
    if technique is not None:
        model = with_technique(model, technique, **objects)
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(3)),
    ]
    inputs = SampleInputs(
        start=normal(1, 16, 1, 8, 8, seed=5),
        has_start=True,
        negative=text(7),
        image_embeds=normal(1, 4, 12, seed=9),
        initial=initial,
    )
    return sample_sections(
        PlainDriver(model),
        assign_prompts(plan_sections("f1", 2, WINDOW), prompts),
        inputs,
        settings,
        sigmas=sigmas,
    )


@dataclass(frozen=True)
class Shorter(Technique):
    """Takes every other noise level."""

    start: float = 1.0

    def schedule(self, section, schedule):
        if not self.amount(section):
            return schedule
        sigmas = torch.tensor([self.start, 0.5, 0.0])
        return Schedule(sigmas, 2.0)


@dataclass(frozen=True)
class Zeroed(Technique):
    """Empties the history, for the section or below a progress."""

    per_step: bool = False

    def context(self, section, context, attachments):
        return context if self.per_step or not self.amount(section) else context.without("none")

    def context_at(self, section, step, context, attachments):
        return context.without("none") if self.per_step and self.amount(section) else context


@dataclass(frozen=True)
class Away(Technique):
    """Moves away from a prediction."""

    of: Prediction = Prediction("previous")
    weight: float = 0.5
    concept: AttachmentKey = attachment()

    def texts(self):
        return (self.concept,) if self.concept else ()

    def wanted(self):
        return Prediction(self.concept) if self.concept else self.of

    def predictions(self, section, step):
        return (self.wanted(),) if self.amount(section) else ()

    def combine(self, section, step, x0, predictions):
        if not self.amount(section):
            return x0
        return x0 + self.weight * (predictions[POSITIVE] - predictions[self.wanted()])


@dataclass(frozen=True)
class Redo(Technique):
    """Denoises the remembered frames again and writes it down."""

    strength: float = 0.6
    anchor: bool = False

    def before_section(self, section, preparation):
        if not self.amount(section):
            return
        fresh = preparation.denoise(preparation.context(), preparation.history.recent(WINDOW), self.strength)
        preparation.history.replace_recent(fresh)
        if self.anchor:
            preparation.history.replace_anchor(fresh[:, :, -1:])
        preparation.record["redone"] = WINDOW


def test_a_technique_that_says_nothing_changes_nothing(model):
    plain, _ = sample(model)
    assert torch.equal(sample(model, Technique(apply_to="all"))[0], plain)


def test_a_schedule_holds_for_its_sections_and_is_recorded(model):
    _, trace = sample(model, Shorter())
    first, second = trace["sections"]
    assert len(first["sigmas"]) == 4 and second["sigmas"] == [1.0, 0.5, 0.0]
    assert second["t"][1] == pytest.approx(1 / 3), "sigma 0.5 under a shift of 2"
    assert (first["evaluations"], second["evaluations"]) == (3, 2)


def test_a_schedule_cannot_start_elsewhere_and_gives_way_to_a_connected_one(model, caplog):
    with pytest.raises(ValueError, match="starts at 0.9 instead of 1"):
        sample(model, Shorter(start=0.9))
    given = torch.tensor([1.0, 0.7, 0.0])
    assert torch.equal(sample(model, Shorter(), given)[0], sample(model, sigmas=given)[0])
    assert "SIGMAS input is connected" in caplog.text


@pytest.mark.parametrize("per_step", [False, True])
def test_a_context_is_changed_for_a_section_or_a_step(model, per_step):
    plain, _ = sample(model)
    changed, _ = sample(model, Zeroed(per_step=per_step))
    other, _ = sample(model, Zeroed(per_step=not per_step))
    assert torch.equal(changed[:, :, : 1 + WINDOW], plain[:, :, : 1 + WINDOW])
    assert not torch.equal(changed, plain) and torch.equal(changed, other)


def test_predictions_of_several_techniques_are_made_once(model):
    both = with_technique(model, Away(weight=0.25))
    latents, trace = sample(both, Away(weight=0.25))
    assert trace["sections"][1]["evaluations"] == 6, "three steps, positive and previous"
    torch.testing.assert_close(latents, sample(model, Away(weight=0.5))[0])


@pytest.mark.parametrize("past", ["full", "anchor", "none"])
def test_moving_towards_a_prediction_in_full_gives_its_own_run(model, past):
    """x0 + (-1) (x0_positive - x0_other) is x0_other."""
    latents, _ = sample(model, Away(of=Prediction("positive", past), weight=-1.0, apply_to="all"))
    if past == "full":
        torch.testing.assert_close(latents, sample(model)[0], atol=1e-5, rtol=1e-5)
    elif past == "none":
        torch.testing.assert_close(latents, sample(model, Zeroed(apply_to="all"))[0], atol=1e-5, rtol=1e-5)
    else:
        plain, _ = sample(model)
        torch.testing.assert_close(
            latents[:, :, : 1 + WINDOW], plain[:, :, : 1 + WINDOW], atol=1e-5, rtol=1e-5
        )


def test_an_attached_conditioning_can_be_predicted(model):
    concept = [[text(1).states, {"pooled_output": text(1).pooled}]]
    towards_old = sample(model, Away(weight=-1.0), concept=concept)[0]
    torch.testing.assert_close(towards_old, sample(model, Away(weight=-1.0))[0], atol=1e-5, rtol=1e-5)


def test_what_is_done_before_a_section_is_remembered_recorded_and_not_shown(model):
    plain, _ = sample(model)
    latents, trace = sample(model, Redo())
    assert torch.equal(latents[:, :, : 1 + WINDOW], plain[:, :, : 1 + WINDOW])
    assert not torch.equal(latents[:, :, 1 + WINDOW :], plain[:, :, 1 + WINDOW :])
    second = trace["sections"][1]
    assert second["before"] == {"evaluations": 3, "redone": WINDOW} and second["evaluations"] == 6
    assert "before" not in trace["sections"][0]
    assert not torch.equal(sample(model, Redo(anchor=True))[0], latents)


def test_contexts_without_their_past_are_what_first_sections_see():
    start, last = normal(1, 16, 1, 8, 8, seed=1), normal(1, 16, 1, 8, 8, seed=2)
    clean = torch.cat([start, last], dim=2)
    forward = Context(
        indices=f1_indices(WINDOW),
        clean=clean,
        clean_2x=normal(1, 16, 2, 8, 8, seed=3),
        clean_4x=normal(1, 16, 16, 8, 8, seed=4),
        image_embeds=normal(1, 4, 12, seed=5),
    )
    backward = replace(forward, indices=original_indices(WINDOW, 1))
    assert forward.without("full") is forward
    assert torch.equal(forward.without("anchor").clean, torch.cat([start, start], dim=2))
    assert torch.equal(backward.without("anchor").clean, torch.cat([start, torch.zeros_like(start)], dim=2))
    assert not forward.without("anchor").clean_4x.any() and forward.without("anchor").image_embeds is not None
    nothing = forward.without("none")
    assert not nothing.clean.any() and not nothing.clean_2x.any() and nothing.image_embeds is None


@dataclass(frozen=True)
class Draw(Technique):
    """Draws noise twice before a section and writes down both."""

    def before_section(self, section, preparation):
        preparation.record["noise"] = [preparation.draw_noise() for _ in range(2)]


@pytest.mark.parametrize("seeds", [{"seed": 7}, {"seeds": (7,)}])
def test_noise_before_a_section_is_new_every_time_and_not_the_sections_own(model, seeds):
    settings = SampleSettings(window=WINDOW, steps=1, **seeds)
    _, trace = sample(model, Draw(apply_to="all"), settings=settings)
    drawn = [noise for section in trace["sections"] for noise in section["before"]["noise"]]
    shape = (1, 16, WINDOW, 8, 8)
    noises = [*drawn, *islice(section_noises(shape, settings), 4)]
    assert len(drawn) == 4 and all(noise.shape == shape for noise in noises)
    assert not any(torch.equal(one, other) for one, other in combinations(noises, 2))


def test_solving_again_starts_at_its_strength_whatever_the_run_starts_at(model, monkeypatch):
    """The run begins at sigma 0.5 of an initial latent, so its levels are scaled by 0.6 / 0.5."""
    solved = []
    run = PlainDriver.run
    monkeypatch.setattr(PlainDriver, "run", lambda self, task: solved.append(task) or run(self, task))
    settings = SampleSettings(window=WINDOW, steps=3, seed=7, denoise=0.5)
    sample(model, Redo(strength=0.6), settings=settings, initial=normal(1, 16, 1 + 2 * WINDOW, 8, 8, seed=11))
    first, again, second = (task.sigmas for task in solved)
    assert float(first[0]) == 0.5 and torch.equal(first, second)
    torch.testing.assert_close(again, first * 1.2)
    assert [task.seed for task in solved] == [7, 8, 8], "a stochastic solver has a seed for each section"
