"""Prompts that take over on their own frame: where sections begin, what they are told, and that borders stay as they were."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.timeline.entry import FramePackTimelineEntry
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.indices import f1_indices, original_indices
from framepack_transitions.samplers.context.lengths import section_lengths
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.noise import section_noises
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts, frame_borders
from framepack_transitions.samplers.timeline.landing import land, landing_report
from framepack_transitions.samplers.timeline.syntaxes.brackets import format_spans
from framepack_transitions.samplers.timeline.syntaxes.table import parse, syntax_of
from hypothesis import given
from hypothesis import strategies as st

LAYOUTS = ("f1", "original")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


def entered(*starts: float, landing: str = "frame") -> list[Prompt]:
    return [
        Prompt(start=start, text=f"at {start:g}", conditioning=text(number), landing=landing)
        for number, start in enumerate(starts)
    ]


def assigned(layout: str, count: int, prompts: list[Prompt], **more):
    planned = plan_sections(layout, count, 9, borders=frame_borders(prompts), **more)
    return assign_prompts(planned, prompts)


@pytest.mark.parametrize(
    ("borders", "lengths"),
    [
        ((), (9, 9, 9, 9)),
        ((19,), (9, 9, 9, 9)),
        ((23,), (9, 9, 4, 9, 5)),
        ((24,), (9, 9, 5, 9, 4)),
        ((20,), (9, 5, 5, 9, 8)),  # one frame more than two sections: the last two share ten
        ((4,), (3, 9, 9, 9, 6)),
        ((23, 26), (9, 9, 4, 3, 6, 5)),
        ((0, 1, 37, 40), (9, 9, 9, 9)),
    ],
)
def test_sections_begin_at_borders_and_share_what_is_left(borders, lengths):
    assert section_lengths(1, 4, 9, borders) == lengths


@given(st.integers(1, 12), st.integers(1, 12), st.sets(st.integers(0, 150), max_size=5))
def test_lengths_fill_the_video_keep_to_the_window_and_hit_every_border(count, window, borders):
    lengths = section_lengths(1, count, window, borders)
    begins = [1 + sum(lengths[:number]) for number in range(len(lengths))]
    assert sum(lengths) == count * window and 1 <= min(lengths) and max(lengths) <= window
    assert {border for border in borders if 1 <= border < 1 + count * window} <= set(begins)
    if not borders:
        assert lengths == (window,) * count


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("start", "frame"), [(2.9, 85), (3.0, 89), (3.1, 93), (0.5, 13), (2.43, 73)])
def test_a_prompt_takes_over_within_two_frames_of_its_time(layout, start, frame):
    """30 frames a second; a latent frame shows four, so that the nearest one is at most two away."""
    sections = sorted(assigned(layout, 4, entered(0, start)), key=lambda section: section.frames)
    first = next(section for section in sections if section.prompt.start == start)
    assert first.frames[0] == frame and abs(frame - 30 * start) <= 2
    assert sections[0].frames[0] == 1 and sections[-1].frames[1] == 145
    assert all(one.frames[1] == two.frames[0] for one, two in pairwise(sections))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_switch_on_a_border_and_prompts_that_land_on_borders_keep_the_plan(layout):
    plain = plan_sections(layout, 4, 9)
    assert plan_sections(layout, 4, 9, borders=frame_borders(entered(0, 2.43))) == plain
    assert frame_borders(entered(0, 3.0, landing="border")) == ()


def test_sections_before_the_last_full_one_stay_as_they_were():
    before, after = plan_sections("f1", 6, 9), assigned("f1", 6, entered(0, 5.1))
    assert [section.latents for section in after[:3]] == [section.latents for section in before[:3]]
    assert [section.window for section in after] == [9, 9, 9, 6, 5, 9, 7]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_short_section_stands_where_its_length_says_and_the_switch_begins_a_full_one(layout):
    sections = assigned(layout, 4, entered(0, 3.0))
    in_time = sorted(sections, key=lambda section: section.latents)
    assert [section.window for section in in_time] == [9, 9, 4, 9, 5]
    assert [section.index for section in sections] == list(range(5))
    assert [section.since_switch for section in sections] == (
        [None, None, None, 0, 1] if layout == "f1" else [None, None, 0, 1, 2]
    )
    for section in sections:
        expected = (
            f1_indices(section.window)
            if layout == "f1"
            else original_indices(section.window, section.padding, whole=9)
        )
        assert section.indices == expected


def test_paddings_count_whole_sections_as_the_model_was_trained_on():
    sections = assigned("original", 4, entered(0, 3.0))
    assert [section.padding for section in sections] == [3, 2, 2, 1, 0]
    assert [section.indices.target[0] for section in sections] == [28, 19, 19, 10, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cut_can_land_on_a_frame(layout):
    prompts = entered(0, 3.0)
    prompts[1] = Prompt(start=3.0, text="", conditioning=text(1), landing="frame", cut=True)
    sections = sorted(assigned(layout, 4, prompts), key=lambda section: section.latents)
    assert [section.shot.number for section in sections] == [0, 0, 0, 1, 1]
    assert sections[3].cut and sections[3].latents[0] == 23
    assert sections[3].shot.latents == (23, 37)


def test_starts_count_from_the_end_of_a_video_that_goes_on():
    prompts = entered(0, 0.5)
    planned = plan_sections(
        "f1", 2, 9, past_latent_frames=10, borders=frame_borders(prompts, past_latent_frames=10)
    )
    # The past shows frames 0 to 36, so that 0.5 s later is frame 51; latent frame 14 begins at 53, and 13 at 49.
    assert [section.latents for section in planned] == [(10, 14), (14, 23), (23, 28)]


def test_a_loop_turns_at_a_section_and_is_no_longer_than_before():
    sections = assigned("original", 4, entered(0, 3.0), loop=True)
    assert [section.latents for section in sections] == [(19, 23), (10, 19), (1, 10), (32, 37), (23, 32)]
    assert {section.shot.loop_from for section in sections} == {23}


# In text


def test_a_word_in_the_text_says_where_a_prompt_lands():
    spans = parse("a [3s frame: b] [5s border: c] [6s!~2 frame: d] [7s: e]")
    assert [span.landing for span in spans] == ["", "frame", "border", "frame", ""]
    assert parse(format_spans(spans)) == spans
    with pytest.raises(ValueError, match="frame .on its own frame. and border"):
        parse("a [3s soon: b]")


@pytest.mark.parametrize(
    ("written", "divides"),
    [("a [3s: b]", False), ("0s: a\n3s: b", False), ("a | b", True), ("a\nb", True), ("0:a;;;1:b", True)],
)
def test_notations_without_times_of_their_own_land_on_borders(written, divides):
    assert syntax_of(written).divides == divides


def test_the_report_says_how_long_sections_are_and_which_prompt_is_on_its_frame():
    spans = [replace(span, landing="frame") for span in parse("a [3s: b]")]
    report = landing_report(land(spans, 4, 9), 4, 9).splitlines()
    assert report[0] == (
        "5 sections of 9, 9, 4, 9, 5 latent frames (0.133 s each), 145 frames, 4.83 s at 30 fps"
    )
    assert "on its frame" not in report[1], "the first prompt begins with the video"
    assert report[2].startswith("sections 4-5 (f1 generates 4-5, original generates 2-1, ")
    assert "frames 89-144, 2.97-4.83 s (asked for 3 s, on its frame): b" in report[2]


def test_an_entry_refuses_another_landing():
    with pytest.raises(ValueError, match="has the landing 'soon'; choose one of border, frame"):
        FramePackTimelineEntry().add([], 1.0, "", 1.0, landing="soon")


# Sampled


def test_noise_has_the_length_of_its_section_and_whole_sections_draw_as_they_always_did():
    shape, settings = (2, 16, 9, 4, 4), SampleSettings(seeds=(3, 4), section_seeds={1: 8})
    plain = section_noises(shape, settings)
    given_lengths = section_noises(shape, settings, [9, 4, 9])
    first, short, third = given_lengths
    assert torch.equal(first, next(plain))
    assert short.shape == (2, 16, 4, 4, 4) and third.shape == shape
    own = torch.randn(2, 16, 4, 4, 4, generator=torch.Generator().manual_seed(8))
    assert torch.equal(short, own)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_video_with_a_short_section_has_its_length_and_only_the_new_text_is_treated(upstream, layout):
    model = PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)
    prompts = entered(0, 0.5)
    planned = plan_sections(layout, 2, 4, borders=frame_borders(prompts))
    assert sorted(section.latents for section in planned) == [(1, 4), (4, 7), (7, 9)]
    inputs = SampleInputs(start=normal(1, 16, 1, 8, 8, seed=5), has_start=True, negative=text(7))
    settings = SampleSettings(layout=layout, window=4, steps=2, seed=7)
    videos = []
    with torch.inference_mode():
        for used in (model, with_technique(model, SemanticKVGate(gamma=2.0))):
            sections = assign_prompts(planned, prompts)
            latents, trace = sample_sections(PlainDriver(used), sections, inputs, settings)
            videos.append(latents)
            assert latents.shape == (1, 16, 9, 8, 8) and latents.isfinite().all()
            assert [record["latents"] for record in trace["sections"]] == [
                list(section.latents) for section in sections
            ]
    border = frame_borders(prompts)[0]
    untouched = slice(0, border) if layout == "f1" else slice(border, None)
    assert torch.equal(videos[0][:, :, untouched], videos[1][:, :, untouched])
    assert not torch.equal(videos[0], videos[1])


@pytest.mark.parametrize("word", ["frame", "border"])
@pytest.mark.parametrize("written", ["0s: a\n2s {}: b", "[0s: a] [60f {}: b]", "[0s: a] [2s {}: b]"])
def test_the_word_is_read_wherever_options_are(written, word):
    assert [(span.text, span.landing) for span in parse(written.format(word))] == [("a", ""), ("b", word)]
