"""Loops, and more than one past frame at full resolution: what is planned, what each section sees, what the sampler makes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.techniques.registry import TECHNIQUES
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry

WINDOW = 3
SCALE = 0.5


def numbered(first: int, count: int) -> torch.Tensor:
    return (
        torch.arange(first, first + count, dtype=torch.float32).view(1, 1, -1, 1, 1).expand(1, 16, -1, 2, 2)
    )


def numbers(latents: torch.Tensor | None) -> list[int]:
    assert latents is not None
    return latents[0, 0, :, 0, 0].int().tolist()


def conditioning(seed: int) -> list:
    generator = torch.Generator().manual_seed(seed)
    states, pooled = torch.randn(1, 5, 24, generator=generator), torch.randn(1, 20, generator=generator)
    return [[states, {"pooled_output": pooled}]]


def latent(*shape: int, seed: int = 1) -> dict[str, torch.Tensor]:
    return {"samples": torch.randn(*shape, generator=torch.Generator().manual_seed(seed))}


@pytest.fixture
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), SCALE)


@pytest.fixture
def model_calls(model):
    """What the transformer got and gave, one call after another."""
    calls = []

    def keep(_, window, inputs, output):
        calls.append(({"x": window[0], **inputs}, output))

    model.model.diffusion_model.register_forward_hook(keep, with_kwargs=True)
    return calls


@pytest.fixture
def sample(model):
    required = FramePackTransitionsSampler.INPUT_TYPES()["required"]
    widgets = {name: spec[1]["default"] for name, spec in required.items() if "default" in spec[1]}
    given = {
        "model": model,
        "positive": conditioning(0),
        "negative": conditioning(9),
        "start_latent": latent(1, 16, 1, 8, 8),
        "latent_frames": 12,
        "window": WINDOW,
        "steps": 2,
        "layout": "original",
    }

    def run(**overrides):
        with torch.inference_mode():
            value, trace = FramePackTransitionsSampler().sample(**{**widgets, **given, **overrides})
        return value["samples"], trace

    return run


def test_the_later_half_of_a_loop_is_generated_last_and_backward() -> None:
    sections = plan_sections("original", 5, 9, loop=True)
    assert [section.latents[0] for section in sections] == [19, 10, 1, 37, 28]
    assert [section.padding for section in sections] == [2, 1, 0, 1, 0]
    assert [section.closes_loop for section in sections] == [False, False, False, True, True]
    assert [section.goes_on for section in sections] == [False, True, True, True, True]
    assert [section.index for section in sections] == [0, 1, 2, 3, 4]


def test_a_closing_section_starts_from_the_last_frame_and_remembers_the_beginning_as_its_future() -> None:
    history = History(Direction.BACKWARD, numbered(100, 1))
    sections = plan_sections("original", 4, WINDOW, loop=True)
    for first in (4, 1):
        history.append(numbered(first, WINDOW))
    history.close_loop()
    closing = history.context(sections[2])
    # FramePackLoop's connection video: pre is the main video's last frame, post its first frames.
    assert numbers(closing.clean) == [6, 100]
    assert numbers(closing.clean_2x) == [1, 2] and numbers(closing.clean_4x) == [3, 4, 5, 6] + [0] * 12
    history.append(numbered(10, WINDOW))
    assert numbers(history.context(sections[3]).clean) == [6, 10]
    assert numbers(history.context(sections[3]).clean_4x)[:4] == [100, 1, 2, 3]
    history.append(numbered(7, WINDOW))
    assert numbers(history.video()) == [100, 1, 2, 3, 4, 5, 6, 10 - 3, 8, 9, 10, 11, 12]


def test_a_loop_leaves_its_earlier_half_as_it_is_without_one(sample) -> None:
    loop, trace = sample(loop=True)
    alone, _ = sample(latent_frames=6)
    assert loop.shape[2] == 13 and torch.equal(loop[:, :, :7], alone)
    assert [section["latents"][0] for section in trace["sections"]] == [4, 1, 10, 7]
    # Another start image moves the end: it is what the end leads to.
    assert not torch.equal(
        loop[:, :, 7:], sample(loop=True, start_latent=latent(1, 16, 1, 8, 8, seed=2))[0][:, :, 7:]
    )


def test_a_loop_from_text_needs_no_start_image(sample, model_calls) -> None:
    empty = {"samples": torch.zeros(1, 16, 1, 8, 8)}
    video, _ = sample(loop=True, start_latent=empty)
    clean = [call["clean_latents"] for call, _ in model_calls]
    alone, _ = sample(latent_frames=6, start_latent=empty)
    assert video.shape[2] == 12 and torch.equal(video[:, :, :6], alone)
    # Two steps a section: the first begins from nothing, the last lies between its neighbours round the seam.
    assert not clean[0].any()
    torch.testing.assert_close(clean[-1], video[:, :, [5, 9]] * SCALE)


def test_a_prompt_may_switch_in_a_loop(sample) -> None:
    entry = TimelineEntry(start=0.6, prompt="new", conditioning=conditioning(3))
    _, trace = sample(loop=True, timeline=Timeline((entry,)))
    prompts = {section["latents"][0]: section["prompt"] for section in trace["sections"]}
    assert [prompts[first] for first in (1, 4, 7, 10)] == ["", "new", "new", "new"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layout": "f1"}, "layout f1 generates forward"),
        ({"latent_frames": 3}, "a single section"),
        ({"past_latent": latent(1, 16, 4, 8, 8)}, "past_latent is connected"),
        ({"end_latent": latent(1, 16, 1, 8, 8)}, "end_latent is connected"),
    ],
)
def test_what_a_loop_cannot_be_combined_with_is_named(sample, wrong, words) -> None:
    with pytest.raises(ValueError, match=words):
        sample(loop=True, **wrong)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"cut": True}, "the timeline has a cut"),
        ({"start_latent": latent(1, 16, 1, 8, 8)}, "an image of its own"),
    ],
)
def test_cuts_and_keyframes_in_a_loop_are_named(sample, entry, words) -> None:
    timeline = Timeline((TimelineEntry(start=0.6, prompt="new", conditioning=conditioning(3), **entry),))
    with pytest.raises(ValueError, match=words):
        sample(loop=True, timeline=timeline)


def test_recent_frames_are_packed_next_to_the_window_as_far_as_there_are_any() -> None:
    history = History(Direction.FORWARD, numbered(100, 1), recent_frames=4)
    sections = plan_sections("f1", 3, WINDOW, recent_frames=4)
    assert numbers(history.context(sections[0]).clean) == [100, 100]
    history.append(numbered(1, WINDOW))
    second = history.context(sections[1])
    assert numbers(second.clean) == [100, 100, 1, 2, 3] and numbers(second.clean_2x) == [0, 0]
    history.append(numbered(4, WINDOW))
    third = history.context(sections[2])
    assert numbers(third.clean) == [100, 3, 4, 5, 6] and numbers(third.clean_2x) == [1, 2]
    assert numbers(third.clean_4x) == [0] * 15 + [100]
    # start, 16 at 4x, 2 at 2x, 4 at 1x, window: as FramePack-Studio lays them out
    indices = sections[2].indices
    assert indices.clean == (0, 19, 20, 21, 22) and indices.target == (23, 24, 25)
    assert indices.clean_2x == (17, 18) and indices.clean_4x == tuple(range(1, 17))


def test_recent_frames_follow_the_window_where_the_video_is_generated_backward() -> None:
    history = History(Direction.BACKWARD, numbered(100, 1), recent_frames=2)
    sections = plan_sections("original", 2, WINDOW, recent_frames=2)
    assert numbers(history.context(sections[0]).clean) == [100, 0]
    history.append(numbered(4, WINDOW))
    second = history.context(sections[1])
    assert numbers(second.clean) == [100, 4, 5] and numbers(second.clean_2x) == [6, 0]
    assert sections[1].indices.clean == (0, 4, 5) and sections[1].indices.clean_2x == (6, 7)


def test_a_past_video_is_recent_from_the_first_section_on(sample) -> None:
    past = latent(1, 16, 8, 8, 8)
    _, trace = sample(layout="f1", past_latent=past, recent_frames=5)
    assert [len(section["indices"]["clean"]) for section in trace["sections"]] == [6] * 4


def test_a_new_shot_remembers_at_most_its_own_frames(sample) -> None:
    entry = TimelineEntry(start=0.6, prompt="new", conditioning=conditioning(3), cut=True)
    for layout, recent in (("f1", [1, 1, 4, 7]), ("original", [1, 3, 6, 1])):
        _, trace = sample(layout=layout, timeline=Timeline((entry,)), recent_frames=9)
        assert [len(section["indices"]["clean"]) - 1 for section in trace["sections"]] == recent, layout


@pytest.mark.parametrize("recent", [0, 10])
def test_a_number_of_recent_frames_that_is_not_possible_is_named(sample, recent) -> None:
    with pytest.raises(ValueError, match=f"recent_frames is {recent}"):
        sample(recent_frames=recent)


@pytest.mark.parametrize("values", [{"recent_frames": 3, "layout": "f1"}, {"loop": True, "recent_frames": 2}])
@pytest.mark.parametrize("entry", TECHNIQUES, ids=lambda entry: entry.title)
def test_every_technique_works_with_them(sample, model, entry, values) -> None:
    if entry.title == "Context Refresh":
        pytest.skip("its own tests give it the VAE that it decodes with")
    technique = replace(entry.example, apply_to="all")
    timeline = Timeline((TimelineEntry(start=0.6, prompt="new", conditioning=conditioning(3)),))
    steps = {"steps": 12} if entry.title == "Step Cache" else {}  # short sections are computed in full
    values = {**values, **steps, "latent_frames": 6, "timeline": timeline}
    video, _ = sample(model=with_technique(model, technique), **values)
    plain, _ = sample(**values)
    assert video.shape == plain.shape and torch.isfinite(video).all()
    assert not torch.equal(video, plain) and torch.equal(video[:, :, :1], plain[:, :, :1])


def test_a_window_of_64_is_sampled(sample, model_calls) -> None:
    video, trace = sample(layout="f1", window=64, latent_frames=64, steps=1)
    assert video.shape[2] == 65 and trace["sections"][0]["indices"]["target"] == list(range(20, 84))
    # One step from pure noise ends at noise - velocity, all 64 frames at once.
    ((inputs, velocity),) = model_calls
    torch.testing.assert_close(video[:, :, 1:] * SCALE, inputs["x"] - velocity, rtol=0, atol=1e-4)
