"""Which sections of a clip are examples, of which kind, and how often each kind is repeated."""

from __future__ import annotations

import pytest
from framepack_transitions.training.making.building import plan_clip, read_captions
from framepack_transitions.training.making.labelling import Take, first_new_frame, takes_of
from framepack_transitions.training.shares import parse_shares, repeats_for, shares_of


def takes(text: str, frames: int, layout: str = "f1", window: int = 9) -> list[Take]:
    return takes_of(read_captions(text, frames, window), frames, layout, window)


def kinds(take: Take) -> list[tuple[int, str, str]]:
    return [(section.number, section.kind, section.caption) for section in take.labelled]


def test_a_clip_without_a_change_is_one_take_of_unchanged_sections() -> None:
    (take,) = takes("a man", 120)
    assert (take.first, take.sections, take.frames, take.left_out) == (0, 3, 109, 0)
    assert kinds(take) == [(0, "same", "a man"), (1, "same", "a man"), (2, "same", "a man")]


def test_a_take_begins_so_that_the_change_is_a_sections_first_frame() -> None:
    # The change is frame 90; sections of 36 frames follow frame 0, so that the head of 17 frames goes: 90 - 17 = 2 * 36 + 1.
    (take,) = takes("a man [3s: nobody]", 200)
    assert take.first == 17 and take.sections == (200 - 18) // 36 == 5
    assert kinds(take) == [
        (0, "same", "a man"),
        (1, "same", "a man"),
        (2, "real", "nobody"),
        (3, "after", "nobody"),
        (4, "after", "nobody"),
    ]


def test_backward_the_section_before_the_change_is_the_one_that_has_to_change() -> None:
    # It is generated after the later ones, and remembers what the new prompt made.
    (take,) = takes("a man [3s: nobody]", 200, "original")
    assert kinds(take) == [
        (0, "after", "a man"),
        (1, "real", "a man"),
        (2, "same", "nobody"),
        (3, "same", "nobody"),
        (4, "same", "nobody"),
    ]


def test_every_change_has_a_take_and_no_section_is_cut_through() -> None:
    first, second = takes("day [2s: dusk] [5s: night]", 260)
    for take, event in ((first, 60), (second, 150)):
        assert (event - take.first - 1) % 36 == 0
    assert [kind for _, kind, _ in kinds(first)] == ["same", "real", "after"]
    assert [(kind, caption) for _, kind, caption in kinds(second)] == [
        ("real", "night"),
        ("after", "night"),
        ("after", "night"),
    ]
    for take in (first, second):
        for number, _, _ in kinds(take):
            begin = take.first + 1 + 36 * number
            assert not any(begin < event < begin + 36 for event in (60, 150))


def test_a_sham_switch_changes_nothing() -> None:
    (take,) = takes("a man [2.4s sham: a man]", 120)
    assert {section.kind for section in take.labelled} == {"same"}


@pytest.mark.parametrize(("seconds", "frame"), [(0.0, 0), (2.0, 60), (1 / 3, 10), (2.01, 61), (1.2, 36)])
def test_a_time_is_the_first_frame_that_is_shown_then(seconds: float, frame: int) -> None:
    assert first_new_frame(seconds) == frame


def test_what_no_example_shows_is_said() -> None:
    from pathlib import Path

    def remarks(text: str, frames: int) -> tuple[str, ...]:
        return plan_clip(Path("walk.mp4"), read_captions(text, frames, 9), frames, "f1", window=9).remarks

    assert remarks("a man", 109) == ()
    assert "gives no example" in remarks("a man", 30)[0]
    assert "behind the clip's end" in remarks("a man [9s: nobody]", 109)[0]
    assert "no whole section" in remarks("a man [0.5s: a dog] [1s: nobody]", 109)[0]


def test_repeats_bring_each_kind_to_its_share() -> None:
    counts = {"real": 10, "after": 23, "same": 70}
    shares = parse_shares("real=.45, after=.15, same=.40")
    repeats = repeats_for(counts, shares)
    got = {kind: repeats[kind] * counts[kind] for kind in counts}
    total = sum(got.values())
    assert all(abs(got[kind] / total - shares[kind]) < 0.02 for kind in counts)
    assert shares_of(counts, repeats) == {kind: number / total for kind, number in got.items()}


def test_kinds_without_examples_or_share_are_not_repeated() -> None:
    assert repeats_for({"real": 4, "same": 4}, parse_shares("real=1,same=1")) == {"real": 1, "same": 1}
    assert repeats_for({"same": 5}, parse_shares("real=.5,same=.5")) == {"same": 1}
    assert repeats_for({"real": 4, "same": 4}, parse_shares("real=1")) == {"real": 1}
    assert repeats_for({}, parse_shares("real=1")) == {}


@pytest.mark.parametrize("text", ["real", "real=x", "other=1", "real=-1", "real=0", "", "real=nan"])
def test_shares_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shares are"):
        parse_shares(text)
