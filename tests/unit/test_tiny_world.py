from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from framepack_transitions.tiny import world
from framepack_transitions.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    EVENTS,
    MOTIONS,
    SHAPES,
    SIZE,
    SIZES,
    Clip,
    Scene,
    Subject,
    make_clip,
    prompt_of,
    render,
)

ALL_EMPTY = [Scene(background, night) for background in BACKGROUNDS for night in (False, True)]


def _all_scenes() -> list[Scene]:
    subjects = [Subject(shape, colour, size) for shape in SHAPES for colour in COLOURS for size in SIZES]
    moving = [
        replace(scene, subject=subject, motion=motion)
        for scene in ALL_EMPTY
        for subject in subjects
        for motion in MOTIONS
    ]
    return ALL_EMPTY + moving


def _recoloured(subject: Subject | None, other: Subject | None) -> Subject | None:
    return replace(subject, colour=other.colour) if subject and other else subject


def _steps(clip: Clip) -> np.ndarray:
    return np.linalg.norm(np.diff(clip.positions, axis=0), axis=1)


@pytest.mark.parametrize("event", EVENTS)
def test_a_clip_depends_on_its_arguments_alone(event: str) -> None:
    first, second = make_clip(7, 41, event), make_clip(7, 41, event)
    assert np.array_equal(first.frames, second.frames) and first.scenes == second.scenes
    assert not np.array_equal(first.frames, make_clip(8, 41, event).frames)


def test_frames_are_pictures_with_their_truth() -> None:
    clip = make_clip(0, 37, "appear", 20)
    assert clip.frames.shape == (37, SIZE, SIZE, 3) and clip.frames.dtype == np.uint8
    assert clip.positions.shape == (37, 2) and clip.presence.tolist() == [False] * 20 + [True] * 17
    assert np.array_equal(np.isnan(clip.positions[:, 0]), ~clip.presence)


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "none"])
@pytest.mark.parametrize("seed", range(6))
def test_an_event_changes_what_it_names_at_its_frame(event: str, seed: int) -> None:
    clip = make_clip(seed, 37, event, 15)
    (start, before), (switch, after) = clip.scenes
    assert (start, switch, clip.switch_frame) == (0, 15, 15)
    expected = {
        "disappear": replace(before, subject=None),
        "appear": replace(before, subject=after.subject),
        "colour": replace(before, subject=_recoloured(before.subject, after.subject)),
        "background": replace(before, background=after.background),
        "night": replace(before, night=not before.night),
        "motion": replace(before, motion=after.motion),
        "cut": after,
    }[event]
    assert before != after and after == expected
    if event != "motion":
        assert np.abs(clip.frames[15].astype(int) - clip.frames[14]).mean() > 2


def test_a_cut_changes_background_shape_and_colour() -> None:
    for seed in range(20):
        (_, before), (_, after) = make_clip(seed, 9, "cut", 4).scenes
        assert before.background != after.background
        if after.subject is not None:
            assert before.subject.shape != after.subject.shape
            assert before.subject.colour != after.subject.colour


@pytest.mark.parametrize("event", ["none", "colour", "background", "night", "motion"])
def test_a_subject_that_stays_moves_on_without_a_jump(event: str) -> None:
    for seed in range(15):
        clip = make_clip(seed, 109, event, empty=False)
        steps = np.diff(clip.positions, axis=0)
        assert np.linalg.norm(steps, axis=1).max() < 3
        assert np.abs(np.diff(steps, axis=0)).max() < 1.7, "inertia: the velocity changes gradually"


def test_subjects_stay_in_the_picture_and_turn_back() -> None:
    for seed in range(30):
        clip = make_clip(seed, 145, empty=False)
        half = clip.scenes[0][1].subject.pixels / 2
        assert clip.positions.min() >= half and clip.positions.max() <= SIZE - half
        if clip.scenes[0][1].motion in DIRECTIONS:
            moves = np.diff(clip.positions, axis=0)
            assert moves.max() > 0.4 and moves.min() < -0.4


@pytest.mark.parametrize("motion", list(DIRECTIONS))
def test_a_slow_subject_keeps_its_direction_for_most_of_a_section(motion: str) -> None:
    kept = []
    for seed in range(30):
        moves = np.diff(make_clip(seed, 37, motion=motion).positions, axis=0)
        kept.append((moves @ np.array(DIRECTIONS[motion]) > 0).mean())
    assert min(kept) > 0.7 and np.mean(kept) > 0.9


def test_a_subject_that_stands_still_does_not_move() -> None:
    assert _steps(make_clip(3, 73, motion="still")).max() == 0


def test_fast_motion_is_large() -> None:
    assert all(np.median(_steps(make_clip(3, 73, motion=motion))) > 2 for motion in ("sideways", "vertical"))


def test_the_scene_of_a_frame_says_where_the_subject_goes_by_then() -> None:
    clip = make_clip(1, 145, motion="right")
    moves = np.diff(clip.positions[:, 0])
    frame = int(np.flatnonzero(moves < -0.5)[0])
    assert clip.scene_at(0).motion == "right" and clip.scene_at(frame).motion == "left"


def test_prompts_follow_the_clip() -> None:
    clip = make_clip(2, 109, "night", 37)
    prompts = [prompt_of(clip.scene_at(frame)) for frame in (1, 37, 73)]
    assert len({prompt.endswith("at night") for prompt in prompts[:2]}) == 2
    assert prompts[1].endswith("at night") == prompts[2].endswith("at night")


def test_canonical_prompts_are_plain_english_and_lose_nothing() -> None:
    subject = Subject("circle", "red", "large")
    moving = "a large red circle moves right over the sea by day"
    assert prompt_of(Scene("sea", False, subject, "right")) == moving
    assert prompt_of(Scene("desert", True)) == "an empty desert at night"
    scenes = _all_scenes()
    assert len({prompt_of(scene) for scene in scenes}) == len(scenes)


def test_varied_prompts_still_name_everything_but_the_size() -> None:
    rng = np.random.default_rng(0)
    scene = Scene("forest", True, Subject("star", "pink", "small"), "left")
    prompts = {prompt_of(scene, rng) for _ in range(300)}
    assert len(prompts) > 100
    assert all(word in prompt for prompt in prompts for word in ("forest", "star", "pink", "left"))
    assert all("night" in prompt or "dark" in prompt for prompt in prompts)


def test_what_is_fixed_stays_fixed() -> None:
    subject = {"shape": "star", "colour": "green", "size": "small"}
    clip = make_clip(5, 9, background="city", night=True, motion="up", **subject)
    assert clip.scenes == ((0, Scene("city", True, Subject(**subject), "up")),)
    assert make_clip(5, 9, subject=Subject(**subject)).scenes[0][1].subject == Subject(**subject)
    assert make_clip(5, 9, empty=True).scenes[0][1].subject is None


def test_backgrounds_differ_at_a_glance_even_at_8x8() -> None:
    small = np.stack([render(scene).reshape(8, 8, 8, 8, 3).mean((1, 3)) / 255 for scene in ALL_EMPTY])
    distances = np.abs(small[:, None] - small[None]).mean((2, 3, 4))
    assert distances[~np.eye(len(small), dtype=bool)].min() > 0.04
    brightness = small.mean((1, 2, 3))
    assert brightness[0::2].min() > 0.4 and brightness[1::2].max() < 0.25


def test_subjects_are_drawn_where_they_are_said_to_be_with_soft_edges() -> None:
    scene = Scene("sea", True, Subject("circle", "yellow", "large"))
    for x, y in ((20.0, 30.0), (30.5, 41.25)):
        drawn = np.abs(render(scene, x, y).astype(float) - render(replace(scene, subject=None))).sum(-1) > 30
        rows, columns = np.nonzero(drawn)
        assert columns.mean() + 0.5 == pytest.approx(x, abs=0.2)
        assert rows.mean() + 0.5 == pytest.approx(y, abs=0.2)
    fill, silhouette = world.masks("circle", 26)
    assert silhouette[0, 0].sum() == pytest.approx(np.pi * (0.49 * 26) ** 2, rel=0.01)
    assert np.all(fill <= silhouette) and len(np.unique(silhouette)) > 20


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no shape 'blob'"):
        Subject("blob", "red", "large")
    with pytest.raises(ValueError, match="no background 'moon'"):
        Scene("moon", False)
    with pytest.raises(ValueError, match="no event 'explosion'"):
        make_clip(0, 9, "explosion")
    with pytest.raises(ValueError, match="no weather"):
        make_clip(0, 9, weather="rain")
    with pytest.raises(ValueError, match="needs a subject"):
        make_clip(0, 9, "colour", empty=True)
    for frames, switch in ((0, None), (9, 0), (9, 9)):
        with pytest.raises(ValueError, match="longer"):
            make_clip(0, frames, "night", switch)
    with pytest.raises(ValueError, match="leave the picture"):
        render(Scene("sea", False, Subject("circle", "red", "large")), 5, 30)
