"""What two prompts are drawn differently in, as a choice of tokens: hand-made predictions for the map, counted evaluations for its cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling.concept_plot import concept_word, plot_concepts
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.concepts import difference_weights
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices
from framepack_transitions.samplers.context.plan import Section, plan_sections
from framepack_transitions.samplers.context.regions.differing import difference_cells
from framepack_transitions.samplers.denoising.denoiser import SectionDenoiser
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.dual_memory import DualMemory
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Difference, Schedule, Technique
from framepack_transitions.samplers.techniques.context.purge import ContextPurge
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

LAYOUTS = ("f1", "original")
EVERYWHERE = {
    "start": "remove",
    "last": "remove",
    "history_2x": "remove",
    "history_4x": "remove",
    "image": "remove",
}
TECHNIQUES = (
    SemanticKVGate(tokens="differing", mode="drop"),
    DualMemory(tokens="differing"),
    ContextPurge(select="differing", **EVERYWHERE),
)
ROWS, COLUMNS = range(4, 8), range(6, 10)  # of tokens, in a picture of 8 x 12


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_context(layout: str = "f1", last: int = 1) -> Context:
    return Context(
        indices=f1_indices(3) if layout == "f1" else plan_sections("original", 2, 3)[1].indices,
        clean=normal(1, 16, 1 + last, 16, 24, seed=1),
        clean_2x=normal(1, 16, 2, 16, 24, seed=2),
        clean_4x=normal(1, 16, 16, 16, 24, seed=3),
        image_embeds=normal(1, 4, 12, seed=4),
    )


def two_predictions() -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions of 3 frames that differ in one channel and one frame, in the cells of a block of 4 x 4 tokens."""
    new = normal(1, 16, 3, 16, 24, seed=5)
    old = new.clone()
    old[:, 7, 1, 8:16, 12:20] += 2.0
    return new, old


def places(weights: torch.Tensor, width: int) -> list[tuple[int, int]]:
    return [divmod(int(place), width) for place in weights.nonzero()[:, -1]]


# The map


def test_the_score_is_the_root_mean_square_over_channels_and_the_most_over_frames():
    new, old = torch.zeros(2, 16, 3, 2, 2), torch.zeros(2, 16, 3, 2, 2)
    new[0, 3, 1, 0, 1] = 4.0  # sqrt(16 / 16)
    new[0, :, 2, 0, 1], old[0, :, 2, 0, 1] = 1.0, 0.5
    old[1, :9, 0, 1, 0] = -4.0  # sqrt(9 * 16 / 16)
    found = difference_cells(new, old)
    assert found[0].tolist() == [[0, 1], [0, 0]]
    assert found[1].tolist() == [[0, 0], [3, 0]]
    assert torch.equal(difference_cells(old, new), found)


def test_a_score_in_half_precision_is_worked_out_in_float32():
    new = torch.full((1, 16, 1, 2, 2), 300.0, dtype=torch.float16)
    assert difference_cells(new, torch.zeros_like(new)).tolist() == [[[300.0, 300.0]] * 2]


def test_the_tokens_at_the_place_of_the_difference_are_chosen_in_every_tier():
    """The tiers have 8 x 12, 4 x 6 (two frames in one) and 2 x 3 tokens (four in one, four times)."""
    weights = difference_weights(*two_predictions(), make_context(last=2))
    block = list(product(ROWS, COLUMNS))
    assert places(weights["start"][0], 12) == block
    one, other = weights["last"][0].view(2, 96)
    assert places(one, 12) == block and places(other, 12) == block
    assert places(weights["2x"][0], 6) == list(product((2, 3), (3, 4)))
    assert all(places(grid, 3) == [(1, 1), (1, 2)] for grid in weights["4x"].view(4, 6))
    image = weights["image"].view(2, 2)
    assert image[1, 1] > 0.3 and image[0].max() < 0.1, "the lower right of the start frame"


def test_backward_the_start_frame_is_spared():
    """There it shows the scene that the section is to show; what lies ahead of it shows the other one."""
    weights = difference_weights(*two_predictions(), make_context("original"))
    forward = difference_weights(*two_predictions(), make_context())
    assert weights["start"].sum() == 0 and weights["image"].sum() == 0
    assert all(torch.equal(weights[name], forward[name]) for name in ("last", "2x", "4x"))


def test_equal_predictions_choose_nothing():
    new, _ = two_predictions()
    weights = difference_weights(new, new.clone(), make_context())
    assert set(weights) == {"4x", "2x", "start", "last", "image"}
    assert all(part.sum() == 0 for part in weights.values())


# A section


def switched(layout: str = "f1", **changes) -> Section:
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1)),
        Prompt(start=0.4, text="new", conditioning=text(3, 7)),
    ]
    return replace(assign_prompts(plan_sections(layout, 2, 3), prompts)[1], **changes)


def test_both_prompts_are_predicted_once_without_a_gate_and_from_all_of_the_past():
    calls, (new, old) = [], two_predictions()

    def evaluate(branches, x, sigma):
        calls.append(branches)
        return [old if branch.text == "previous" else new for branch in branches]

    purge = ContextPurge(select="differing", **EVERYWHERE)
    denoiser = SectionDenoiser(
        section=switched(),
        context=make_context(),
        guidance=Guidance(distilled=6.0),
        techniques=(SemanticKVGate(), purge),
    )
    for sigma in (1.0, 0.9):
        denoiser(torch.zeros_like(new), torch.tensor([sigma]), evaluate)

    compared, *steps = calls
    assert [branch.text for branch in compared] == ["positive", "previous"]
    for branch in compared:
        assert branch.attention is None and not branch.context.tokens and branch.distilled == 6.0
        assert branch.is_asked and not branch.guided
    assert [[branch.text for branch in step] for step in steps] == [["positive"], ["positive"]]
    chosen = {12 * row + column for row, column in product(ROWS, COLUMNS)}
    for (branch,) in steps:
        assert set(branch.context.tokens["last"][0].tolist()) == set(range(96)) - chosen
        assert branch.attention is not None and not branch.is_asked
    assert denoiser.evaluations == 4


def test_it_is_looked_for_where_the_first_window_begins_that_needs_it():
    """Steps at t = 1, .75, .5 and .25, without a shift."""
    late = DualMemory(tokens="differing", t_start=0.8, t_end=0.4)
    later = replace(late, t_start=0.5)
    asked: list[list[str]] = []

    def evaluate(branches, x, sigma):
        asked.append([f"{float(sigma[0]):g} {branch.text}" for branch in branches if branch.is_asked])
        return [normal(1, 16, 3, 16, 24, seed=len(branch.text)) for branch in branches]

    denoiser = SectionDenoiser(
        section=switched(), context=make_context(), guidance=Guidance(), techniques=(later, late)
    )
    for sigma in (1.0, 0.75, 0.5, 0.25):
        denoiser(torch.zeros(1, 16, 3, 16, 24), torch.tensor([sigma]), evaluate)
    assert [call for call in asked if call] == [["0.75 positive", "0.75 previous"]]
    schedule = Schedule(sigmas=torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]), shift=1.0)
    assert denoiser.planned_evaluations(schedule) == denoiser.evaluations == 6
    never = replace(late, t_start=0.7, t_end=0.6)
    planned = SectionDenoiser(
        section=switched(), context=make_context(), guidance=Guidance(), techniques=(never,)
    )
    assert planned.planned_evaluations(schedule) == 4


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: type(technique).__name__)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_looked_for_where_the_text_has_changed_alone(technique: Technique, layout: str):
    section = switched(layout)
    assert technique.concepts(section) == (Difference(),)
    for other in (
        replace(section, previous=section.prompt),
        replace(section, change=0.0),
        replace(section, since_switch=1),
        replace(section, previous=None, since_switch=None),
    ):
        assert technique.concepts(other) == ()
    everywhere = replace(technique, apply_to="all")
    assert everywhere.concepts(replace(section, since_switch=3)) == (Difference(),)
    assert everywhere.concepts(replace(section, previous=None, since_switch=None)) == ()


@pytest.mark.parametrize(
    "technique",
    [
        SemanticKVGate(tokens="differing", gamma=0.0),
        SemanticKVGate(tokens="differing", mode="cap", cap=1.0),
        DualMemory(tokens="differing", content=0.0, event="gone"),
        ContextPurge(select="differing", last="keep", history_2x="keep", history_4x="keep"),
    ],
)
def test_what_is_off_looks_for_nothing(technique: Technique):
    assert technique.concepts(switched()) == ()


# A run


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def text(seed: int, length: int = 5) -> TextConditioning:
    return TextConditioning(normal(1, length, 24, seed=seed), normal(1, 20, seed=seed + 1))


def sampled(model: PlainModel, *techniques: Technique, layout: str = "f1", later: str = "new"):
    """Two sections with a switch between them; where `later` is "old", the same prompt is entered anew."""
    for technique in techniques:
        model = with_technique(model, technique)
    texts = {"old": text(1), "new": text(3, 7)}
    prompts = [
        Prompt(start=0.0, text="old", conditioning=texts["old"]),
        Prompt(start=0.4, text=later, conditioning=texts[later]),
    ]
    inputs = SampleInputs(
        start=normal(1, 16, 1, 8, 8, seed=7),
        has_start=True,
        negative=text(5),
        image_embeds=normal(1, 4, 12, seed=9),
    )
    settings = SampleSettings(window=3, steps=4, layout=layout)
    sections = assign_prompts(plan_sections(layout, 2, 3), prompts)
    return sample_sections(PlainDriver(model), sections, inputs, settings, solver="euler")


def evaluations(trace) -> list[int]:
    return [section["evaluations"] for section in trace["sections"]]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: type(technique).__name__)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_costs_two_evaluations_at_a_switch_and_nothing_at_a_sham(model, technique, layout):
    treated, trace = sampled(model, technique, layout=layout)
    plain, _ = sampled(model, layout=layout)
    assert evaluations(trace) == [4, 6] and not torch.equal(treated, plain)

    for acting in (technique, replace(technique, apply_to="all"), replace(technique, sections=2)):
        sham, trace = sampled(model, acting, layout=layout, later="old")
        assert evaluations(trace) == [4, 4] and "concepts" not in trace["sections"][1]
        assert torch.equal(sham, sampled(model, layout=layout, later="old")[0])


def test_a_new_place_forgets_no_scene_where_the_prompt_says_the_same(model):
    """Nothing differs there, so that all of the past would be the scene."""
    memory = DualMemory(tokens="differing", event="new_place", scene=1.0)
    assert torch.equal(sampled(model, memory, later="old")[0], sampled(model, later="old")[0])
    assert not torch.equal(sampled(model, memory)[0], sampled(model)[0])


def test_techniques_share_one_map_and_the_trace_shows_it(model):
    _, trace = sampled(model, DualMemory(tokens="differing"), TECHNIQUES[2])
    first, second = trace["sections"]
    assert evaluations(trace) == [4, 6] and "concepts" not in first
    ((name, found),) = second["concepts"].items()
    assert concept_word(name) == "differing"
    assert all(np.shape(found[frame]) == (1, 4, 4) for frame in ("start", "last"))
    assert found["start"] == found["last"] and {0, 1} == {cell for row in found["last"][0] for cell in row}
    assert plot_concepts(trace) is not None
    _, backward = sampled(model, DualMemory(tokens="differing"), layout="original")
    assert not np.any(backward["sections"][1]["concepts"]["differing"]["start"])
