"""Section counts, frame ranges and index tables, against the numbers of upstream's demo scripts written out by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.indices import f1_indices, original_indices, original_paddings
from framepack_transitions.samplers.context.plan import (
    pixel_frames,
    plan_sections,
    section_count,
    sections_for_latents,
)


@pytest.mark.parametrize(
    ("seconds", "window", "sections"),
    [
        (5, 9, 4),
        (1, 9, 1),
        (0.1, 9, 1),
        (1.8, 9, 2),
        (3, 9, 2),
        (10, 9, 8),
        (60, 9, 50),
        (120, 9, 100),
        (1, 5, 2),
    ],
)
def test_section_count_follows_upstream(seconds, window, sections):
    assert section_count(seconds, window) == sections


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_length_that_is_no_length_is_refused(seconds):
    with pytest.raises(ValueError, match="above 0"):
        section_count(seconds, 9)


def test_latent_frames_round_up_to_whole_sections():
    assert [sections_for_latents(n, 9) for n in (1, 9, 10, 18, 19)] == [1, 1, 2, 2, 3]


def test_f1_indices_at_window_9():
    indices = f1_indices(9)
    assert indices.clean == (0, 19)
    assert indices.clean_4x == tuple(range(1, 17))
    assert indices.clean_2x == (17, 18)
    assert indices.target == tuple(range(20, 29))


def test_original_indices_at_window_9_without_padding():
    indices = original_indices(9, 0)
    assert indices.clean == (0, 10)
    assert indices.target == tuple(range(1, 10))
    assert indices.clean_2x == (11, 12)
    assert indices.clean_4x == tuple(range(13, 29))


def test_original_padding_leaves_blank_windows_after_the_start():
    indices = original_indices(9, 3)
    assert indices.target == tuple(range(28, 37))
    assert indices.clean == (0, 37)


@pytest.mark.parametrize(
    ("count", "paddings"),
    [
        (1, [0]),
        (2, [1, 0]),
        (3, [2, 1, 0]),
        (4, [3, 2, 1, 0]),
        (5, [3, 2, 2, 1, 0]),
        (8, [3, 2, 2, 2, 2, 2, 1, 0]),
    ],
)
def test_long_original_videos_repeat_padding_two(count, paddings):
    assert original_paddings(count) == paddings


@pytest.mark.parametrize(("padding", "blank"), [(0, 0), (0.5, 4), (1, 9), (1.5, 13), (2, 18), (3, 27)])
def test_a_chosen_padding_holds_for_all_sections_but_the_last(padding, blank):
    """FramePack-eichi takes whole latent frames: 1.5 windows of 9 are 13."""
    sections = plan_sections("original", 4, 9, padding=padding)
    assert [s.padding for s in sections] == [padding, padding, padding, 0]
    assert [s.indices.target[0] - 1 for s in sections] == [blank, blank, blank, 0]


@pytest.mark.parametrize("padding", [None, 0, 0.2, 1.5, 3])
def test_indices_of_the_original_layout_rise_strictly(padding):
    for section in plan_sections("original", 6, 9, padding=padding, recent_frames=4, borders=(24,)):
        indices = section.indices
        start, *last = indices.clean
        places = [start, *indices.target, *last, *indices.clean_2x, *indices.clean_4x]
        assert all(later > earlier for earlier, later in pairwise(places))


def test_both_halves_of_a_loop_keep_a_chosen_padding():
    sections = plan_sections("original", 5, 9, loop=True, padding=2)
    assert [section.padding for section in sections] == [2, 2, 0, 2, 0]


def test_f1_sections_cover_36_frames_each_after_the_start_image():
    sections = plan_sections("f1", 4, 9)
    assert [s.frames for s in sections] == [(1, 37), (37, 73), (73, 109), (109, 145)]
    assert [s.latents for s in sections] == [(1, 10), (10, 19), (19, 28), (28, 37)]


def test_original_sections_come_from_the_end():
    sections = plan_sections("original", 3, 9)
    assert [s.frames for s in sections] == [(73, 109), (37, 73), (1, 37)]
    assert [s.padding for s in sections] == [2, 1, 0]
    assert [s.index for s in sections] == [0, 1, 2]


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_without_a_start_image_the_video_begins_with_the_first_section(layout):
    sections = sorted(plan_sections(layout, 2, 9, keeps_start=False), key=lambda s: s.latents)
    assert [s.frames for s in sections] == [(0, 33), (33, 69)]


def test_pixel_frames_of_latents():
    assert pixel_frames((0, 1)) == (0, 1)
    assert pixel_frames((1, 2)) == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("f2", 1, 9), "layout is 'f2'"),
        (("f1", 0, 9), "at least one section"),
        (("f1", 1, 0), "window is 0"),
        (("f1", 1, 65), "window is 65"),
    ],
)
def test_impossible_plans_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        plan_sections(*arguments)


@pytest.mark.parametrize(
    ("layout", "padding", "words"),
    [
        ("f1", 2, "padding is 2, but layout f1"),
        ("original", 3.5, "padding is 3.5; .* 0 to 3"),
        ("original", -0.5, "padding is -0.5; .* -1"),
        ("original", float("nan"), "padding is nan"),
    ],
)
def test_a_padding_that_the_layout_does_not_have_is_refused(layout, padding, words):
    with pytest.raises(ValueError, match=words):
        plan_sections(layout, 2, 9, padding=padding)


@pytest.mark.parametrize(
    ("layout", "past", "goes_on"),
    [
        ("f1", 0, [False, True, True]),
        ("f1", 10, [True, True, True]),
        ("original", 0, [False, True, True]),
    ],
)
def test_a_section_goes_on_from_what_was_generated_before_it(layout, past, goes_on):
    assert [section.goes_on for section in plan_sections(layout, 3, 9, past_latent_frames=past)] == goes_on


def test_a_prompt_keeps_what_was_planned():
    section = plan_sections("original", 2, 9)[0]
    prompt = Prompt(start=0.0, text="a dog")
    prompted = section.with_prompt(prompt, change=0.5)
    assert (prompted.prompt, prompted.change, prompted.previous) == (prompt, 0.5, None)
    for name in ("index", "latents", "frames", "padding", "indices", "shot", "direction"):
        assert getattr(prompted, name) == getattr(section, name)
