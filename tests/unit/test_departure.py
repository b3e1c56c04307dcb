"""How far a prompt leaves the start frame's scene, and what techniques of later prompts do with it in either layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import Section, plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3
SECTION = 4 * WINDOW / 30


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


def prompt(section: float, change: float, **fields: Any) -> Prompt:
    """A prompt that takes over with the section of this number in time."""
    return Prompt(
        start=section * SECTION,
        text=f"{section}",
        conditioning=text(round(10 * section)),
        change=change,
        **fields,
    )


def in_time(layout: str, *prompts: Prompt, count: int = 4) -> list[Section]:
    sections = assign_prompts(plan_sections(layout, count, WINDOW), prompts)
    return sorted(sections, key=lambda section: section.latents)


def departures(*prompts: Prompt, layout: str = "f1") -> list[float]:
    return [section.departure for section in in_time(layout, *prompts)]


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_it_is_each_later_prompts_own_change_wherever_its_sections_are_made(layout: str) -> None:
    assert departures(prompt(0, 1.0), prompt(1, 0.6), prompt(3, 0.2), layout=layout) == [0.0, 0.6, 0.6, 0.2]
    assert departures(prompt(0, 1.0), layout=layout) == [0.0] * 4


def test_the_first_prompt_leaves_nothing_even_where_it_begins_later() -> None:
    assert departures(prompt(1, 1.0), prompt(2, 0.5)) == [0.0, 0.0, 0.5, 0.5]


def test_a_start_frame_of_its_own_is_no_earlier_scenes() -> None:
    image = normal(1, 16, 1, 8, 8, seed=90)
    assert departures(prompt(0, 0.0), prompt(1, 1.0, cut=True), prompt(3, 0.4)) == [0.0, 0.0, 0.0, 0.0]
    assert departures(prompt(0, 0.0), prompt(2, 1.0, start_latent=image)) == [0.0, 0.0, 0.0, 0.0]
    tokens = normal(1, 4, 12, seed=91)
    assert departures(prompt(0, 0.0), prompt(2, 1.0, image_embeds=tokens)) == [0.0, 0.0, 1.0, 1.0]


def test_a_scene_that_is_called_back_is_as_far_away_as_it_was() -> None:
    first, second = prompt(0, 0.0), prompt(1, 0.6)
    back = Prompt(start=3 * SECTION, text="back", conditioning=first.conditioning, cut=True, recall=True)
    assert departures(first, second, back) == [0.0, 0.6, 0.6, 0.0]
    third = prompt(2, 1.0)
    back = Prompt(start=3 * SECTION, text="back", conditioning=second.conditioning, cut=True, recall=True)
    assert departures(first, second, third, back) == [0.0, 0.6, 1.0, 0.6]


@pytest.fixture(scope="module")
def model(upstream: Any) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def policies(model: PlainModel, layout: str, apply_to: str) -> dict[str, list[Any]]:
    """Of each prompt, in time, the attention policies of the first step of its sections."""
    gate = SemanticKVGate(gamma=2.0, last=0.0, history_2x=0.0, history_4x=0.0, apply_to=apply_to)
    inputs = SampleInputs(
        start=normal(1, 16, 1, 8, 8, seed=5),
        has_start=True,
        negative=text(7),
        image_embeds=normal(1, 4, 12, seed=9),
    )
    sections = assign_prompts(plan_sections(layout, 4, WINDOW), [prompt(0, 0.0), prompt(2, 0.5)])
    settings = SampleSettings(layout=layout, window=WINDOW, steps=2, seed=7)
    _, trace = sample_sections(PlainDriver(with_technique(model, gate)), sections, inputs, settings)
    found: dict[str, list[Any]] = {}
    for record in sorted(trace["sections"], key=lambda record: record["latents"]):
        found.setdefault(record["prompt"], []).append(record["attention"][0])
    return found


def biases(policies: list[Any]) -> list[float | None]:
    return [policy and policy["bias"].get("start") for policy in policies]


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_a_gate_of_later_prompts_acts_in_all_their_sections_and_in_no_other(
    model: PlainModel, layout: str
) -> None:
    found = policies(model, layout, "later_prompts")
    assert [biases(found[name]) for name in ("0", "2")] == [[None, None], [-1.0, -1.0]]


def test_one_that_waits_for_a_switch_acts_on_the_other_side_of_it_backward(model: PlainModel) -> None:
    found = policies(model, "original", "transition")
    assert [biases(found[name]) for name in ("0", "2")] == [[None, -1.0], [None, None]]
