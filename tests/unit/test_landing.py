"""Which sections a prompt really gets, and what the user reads about it."""

from __future__ import annotations

import pytest
from framepack_transitions.samplers.context.plan import plan_sections, section_count
from framepack_transitions.samplers.timeline.landing import LOOP, land, landing_report, landing_warnings
from framepack_transitions.samplers.timeline.syntaxes.table import parse


def landings(text: str, count: int = 4, window: int = 9):
    return land(parse(text, sections=count, section_seconds=4 * window / 30), count, window)


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("a", [(0, 1, 2, 3)]),
        ("a [3s: b]", [(0, 1), (2, 3)]),  # borders lie at 1.23, 2.43 and 3.63 s
        ("a [1.8s: b]", [(0,), (1, 2, 3)]),
        ("a [1.9s: b]", [(0, 1), (2, 3)]),
        ("a [1s: b] [1.1s: c]", [(0,), (), (1, 2, 3)]),
        ("a [0.1s: b]", [(), (0, 1, 2, 3)]),
        ("a [9s: b]", [(0, 1, 2, 3), ()]),
        ("a [2s: a] [3s: b]", [(0, 1), (2, 3)]),
        ("a [3s sham: a]", [(0, 1), (2, 3)]),
        ("0:a;;;1:b", [(0,), (1,), (2, 3)]),
        ("0:a;;;2-3:b;;;-1:c", [(0, 1), (2,), (3,)]),
        ("0:a;;;4:b", [(0, 1, 2, 3), ()]),
        ("a | b", [(0, 1), (2, 3)]),
        ("a | b | c", [(0,), (1, 2), (3,)]),
        ("a\nb\nc\nd", [(0,), (1,), (2,), (3,)]),
    ],
)
def test_prompts_land_on_the_sections_around_them(text, sections):
    assert [landing.sections for landing in landings(text)] == sections


@pytest.mark.parametrize("window", range(1, 34))
def test_section_numbers_land_on_these_sections_at_every_window(window):
    assert [landing.sections for landing in landings("0:a;;;1:b;;;2:c", 3, window)] == [(0,), (1,), (2,)]


@pytest.mark.parametrize("count", range(1, 12))
def test_up_to_as_many_bars_as_sections_lose_none(count):
    for prompts in range(1, count + 1):
        text = "|".join(f"prompt {i}" for i in range(prompts))
        lengths = [len(landing.sections) for landing in landings(text, count)]
        assert min(lengths) >= 1 and max(lengths) - min(lengths) <= 1 and sum(lengths) == count


def test_the_original_layout_generates_the_same_sections_from_the_end():
    first, second = landings("a [1s: b]")
    assert (first.generated["f1"], first.generated["original"]) == ((0,), (3,))
    assert (second.generated["f1"], second.generated["original"]) == ((1, 2, 3), (2, 1, 0))
    assert (first.frames, second.frames) == ((1, 37), (37, 145))


def test_a_loop_generates_its_first_half_backwards_and_then_its_second_half():
    first, second = landings("a [1s: b]")
    assert (first.generated[LOOP], second.generated[LOOP]) == ((1,), (0, 3, 2))
    assert "original in a loop generates 1 and 4-3)" in landing_report([first, second], 4, 9)


def test_no_order_of_a_loop_is_told_where_there_can_be_none():
    assert all(LOOP not in landing.generated for landing in [*landings("a", 1), *landings("a [1s cut: b]")])


def test_the_report_says_where_each_prompt_landed():
    assert landing_report(landings("a\nman => a man [3s!: an empty room]"), 4, 9).splitlines() == [
        "4 sections of 1.2 s, 145 frames, 4.83 s at 30 fps",
        (
            "sections 1-2 (f1 generates 1-2, original generates 4-3, original in a loop generates 2-1), "
            "frames 1-72, 0.03-2.43 s (asked for 0 s): "
            "a man => a man"
        ),
        (
            "sections 3-4 (f1 generates 3-4, original generates 2-1, original in a loop generates 4-3), "
            "frames 73-144, 2.43-4.83 s (asked for 3 s, "
            "forced): an empty room"
        ),
    ]


def test_prompts_without_a_section_are_told_why():
    found = landings("a [1s: b] [1.1s: c] [9s: d]")
    short, late = landing_warnings(found, 4, 9)
    assert short.startswith("Warning: 'b' (1 s)") and "too short" in short
    assert late.startswith("Warning: 'd' (9 s)") and "4.83 s" in late
    assert landing_report(found, 4, 9).splitlines()[-2:] == [short, late]
    assert "no section (asked for 1 s): b" in landing_report(found, 4, 9)


def test_the_report_counts_the_frames_that_the_sampler_makes():
    for seconds, window in ((0.1, 1), (5.0, 9), (30.0, 12)):
        count = section_count(seconds, window)
        frames = plan_sections("original", count, window)[0].frames[1]
        assert f"{count} sections" in landing_report(landings("a", count, window), count, window)
        assert f" {frames} frames" in landing_report(landings("a", count, window), count, window)
