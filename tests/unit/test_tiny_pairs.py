"""The embedded world with two subjects: its clips, their truth and prompts, and that the detector reads both."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.tiny.detector import detect, detect_pair
from framepack_transitions.tiny.train.judging.sampling import Generator, Settings
from framepack_transitions.tiny.world import (
    ALONG,
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZE,
    Clip,
    Scene,
    Subject,
    draw,
    make_clip,
    prompt_of,
    random_scene,
    with_second,
)
from framepack_transitions.tiny.world.shadows import draw_shadow_alone, draw_shadowed

RED, BLUE = Subject("circle", "red", "small"), Subject("star", "blue", "small")
PAIR = Scene("sea", False, RED, "right", second=BLUE, second_motion="still")
PLACES = np.array([[[18.0, 16.0]], [[44.0, 47.0]]])
READABLE = 0.75
# Seed 5, 37 frames, colour at 20, when the world knew one subject.
RECORDED_PROMPTS = [
    f"a large {colour} star races up and down over the sea by day" for colour in ("red", "yellow")
]
RECORDED_POSITIONS = [[29.25, 43.75], [29.25, 20.0], [29.25, 39.5], [29.25, 29.75]]
RECORDED_SUM = 65937074


def pairs(count: int, seed: int = 0) -> list[Scene]:
    """Scenes with two subjects."""
    rng = np.random.default_rng(seed)
    return [with_second(rng, random_scene(rng, empty=False)) for _ in range(count)]


def pictures(scenes: list[Scene]) -> np.ndarray:
    """A picture of each scene, its subjects one above the other or side by side, as far apart as they are in clips."""
    frames = []
    for number, scene in enumerate(scenes):
        near, far = scene.subject.pixels / 2 + 1.5, SIZE - scene.second.pixels / 2 - 1.5
        across = (near, far) if number % 2 else (SIZE - near, SIZE - far)
        along = (scene.subject.pixels / 2 + 3.25 + number % 3, SIZE - scene.second.pixels / 2 - 4.5)
        ways = np.array([[along[slot], across[slot]] for slot in range(2)])
        ways = ways[:, ::-1] if number % 4 > 1 else ways
        frames.append(draw([(0, scene)], ways[:1], ways[1:])[0])
    return np.stack(frames)


def every_look() -> list[Scene]:
    """Every shape in every colour in every place by day and by night, beside a subject that differs in both."""
    scenes = []
    for number, (place, night, shape, colour) in enumerate(
        product(BACKGROUNDS, (False, True), SHAPES, COLOURS)
    ):
        shapes = [other for other in SHAPES if other != shape]
        colours = [other for other in COLOURS if other != colour]
        sizes = [("small", "small"), ("large", "small"), ("small", "large")][number % 3]
        other = Subject(shapes[number % 3], colours[number % 5], sizes[1])
        scenes.append(Scene(place, night, Subject(shape, colour, sizes[0]), second=other))
    return scenes


def read(frames: np.ndarray, scenes: list[Scene]) -> list[bool]:
    """Which frames are read rightly: place, time, both subjects with their sizes, and nothing else."""
    found = detect_pair(frames)
    return [bool(found[i : i + 1].agrees(scene, size=True)[0]) for i, scene in enumerate(scenes)]


# Clips


def test_a_clip_with_two_subjects_depends_on_its_arguments_alone() -> None:
    first, second = (make_clip(7, 41, "colour", pair=True) for _ in range(2))
    assert np.array_equal(first.frames, second.frames) and first.scenes == second.scenes
    assert not np.array_equal(first.frames, make_clip(8, 41, "colour", pair=True).frames)


def test_a_clip_with_one_subject_is_what_it_was_before_there_were_two() -> None:
    clip = make_clip(5, 37, "colour", 20)
    assert [prompt_of(scene) for _, scene in clip.scenes] == RECORDED_PROMPTS
    assert clip.positions[::12].tolist() == RECORDED_POSITIONS
    assert int(clip.frames.astype(np.int64).sum()) == pytest.approx(RECORDED_SUM, abs=200)
    assert not clip.present[1].any() and np.isnan(clip.ways[1]).all()


@pytest.mark.parametrize("seed", range(12))
def test_two_subjects_differ_in_shape_and_colour_and_stay_in_sight(seed: int) -> None:
    clip = make_clip(seed, 145, pair=True)
    scene = clip.scenes[0][1]
    assert scene.subject.shape != scene.second.shape and scene.subject.colour != scene.second.colour
    assert not scene.subject.size == scene.second.size == "large"
    assert clip.present.all() and clip.visible.min() > READABLE
    assert np.linalg.norm(np.diff(clip.ways, axis=1), axis=-1).max() < 3


@pytest.mark.parametrize(("event", "who"), [("disappear", 0), ("disappear", 1), ("appear", 0), ("appear", 1)])
def test_one_leaves_or_comes_and_the_other_goes_on_as_if_nothing_were(event: str, who: int) -> None:
    clip = make_clip(3, 73, event, 37, pair=True, who=who)
    calm = make_clip(3, 73, pair=True)
    assert calm.present.all()
    assert clip.present[1 - who].all()
    assert clip.present[who].tolist() == [event == "disappear"] * 37 + [event == "appear"] * 36
    other = clip.scenes[0][1].slots[1 - who][0]
    assert all(scene.slots[1 - who][0] == other for _, scene in clip.scenes)
    steps = np.linalg.norm(np.diff(clip.ways[1 - who], axis=0), axis=1)
    assert steps.max() < 3, "it does not jump"


@pytest.mark.parametrize("who", [0, 1])
def test_one_changes_its_colour_to_one_that_is_free(who: int) -> None:
    for seed in range(8):
        (_, before), (_, after) = make_clip(seed, 9, "colour", 4, pair=True, who=who).scenes
        new = after.slots[who][0]
        assert new.colour not in (before.subject.colour, before.second.colour)
        assert after == before.with_subject(who, replace(before.slots[who][0], colour=new.colour))


@pytest.mark.parametrize("event", ["disappear", "appear", "colour", "background", "night", "cut"])
@pytest.mark.parametrize("pair", [False, True])
def test_what_was_before_an_event_comes_back(event: str, pair: bool) -> None:
    clip = make_clip(11, 109, event, 37, pair=pair, back_frame=73)
    assert [first for first, _ in clip.scenes] == [0, 37, 73] and clip.back_frame == 73
    assert clip.scenes[0][1] == clip.scenes[2][1] != clip.scenes[1][1]
    assert np.array_equal(clip.present[:, 0], clip.present[:, -1])


@pytest.mark.parametrize("pair", [False, True])
def test_a_subject_passes_the_edge_and_returns_without_a_word(pair: bool) -> None:
    for seed in range(6):
        clip = make_clip(seed, 145, pair=pair, passes=True)
        gone = np.flatnonzero(~clip.present[0])
        assert len(clip.scenes) == 1 and clip.switch_frame is None
        assert len(gone) and clip.visible[0, 0] > 0.99
        assert clip.visible[0, gone[0] : gone[0] + 70].max() > 0.99, "it is whole again"
        texts = [prompt_of(clip.scene_at(frame)) for frame in (0, int(gone[0]), 140)]
        assert all(clip.scenes[0][1].subject.shape in text for text in texts)
        assert not pair or clip.present[1].all()


def test_boxes_are_where_something_is_drawn() -> None:
    clip = make_clip(2, 37, "disappear", 20, pair=True, who=0)
    empty = draw([(0, replace(clip.scenes[0][1], subject=None, second=None))], clip.ways[0])
    for frame in (0, 10, 30):
        drawn = np.abs(clip.frames[frame].astype(int) - empty[frame]).sum(-1) > 30
        inside = np.zeros_like(drawn)
        for left, top, right, bottom in clip.boxes[:, frame][clip.present[:, frame]]:
            area = slice(int(top) - 1, int(bottom) + 2), slice(int(left) - 1, int(right) + 2)
            assert drawn[area].any()
            inside[area] = True
        assert not drawn[~inside].any()
    assert np.isnan(clip.boxes[0, 20:]).all()


def test_the_first_subject_lies_in_front() -> None:
    ways = np.full((1, 2), 32.0), np.full((1, 2), 40.0)
    frame = draw([(0, replace(PAIR, motion="still"))], *ways)[0]
    red, _, blue = frame[34, 34].astype(int)
    assert red > blue + 100
    swapped = Scene("sea", False, BLUE, second=RED)
    red, _, blue = draw([(0, swapped)], *ways)[0][34, 34].astype(int)
    assert blue > red + 100


def test_a_larger_picture_shows_the_same() -> None:
    small, large = (make_clip(4, 21, "colour", 9, pair=True, scale=scale) for scale in (1, 2))
    assert large.frames.shape == (21, 128, 128, 3) and large.scenes == small.scenes
    assert np.array_equal(large.ways, small.ways)
    halved = large.frames.reshape(21, 64, 2, 64, 2, 3).mean((2, 4))
    assert np.abs(halved - small.frames).mean() < 2
    found = detect_pair(large.frames[::6])
    assert all(found[i : i + 1].agrees(large.scene_at(6 * i), size=True)[0] for i in range(4))
    place = found.place_of(large.scenes[0][1].subject)[0]
    assert np.abs(place - large.ways[0, 0]).max() < 0.5


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape and in colour"):
        make_clip(0, 9, pair=True, subject=RED, second=replace(BLUE, colour="red"))
    large = replace(RED, size="large"), replace(BLUE, size="large")
    with pytest.raises(ValueError, match="Two large subjects"):
        make_clip(0, 9, pair=True, subject=large[0], second=large[1])
    with pytest.raises(ValueError, match="cross the way"):
        make_clip(0, 9, pair=True, motion="left", second_motion="up")
    with pytest.raises(ValueError, match="needs a subject"):
        make_clip(0, 9, pair=True, empty=True)
    for event, frame, back in (("motion", 3, 6), ("none", None, 6), ("night", 6, 3), ("night", 3, 9)):
        with pytest.raises(ValueError, match="nothing can return"):
            make_clip(0, 9, event, frame, back_frame=back)


# Prompts


def test_a_pair_is_said_in_one_plain_sentence() -> None:
    expected = "a small red circle moves right and a small blue star stands still over the sea by day"
    assert prompt_of(PAIR) == expected
    alone = prompt_of(replace(PAIR, subject=None))
    assert alone == "a small blue star stands still over the sea by day"


def test_phrasings_of_a_pair_differ_and_name_both_in_order() -> None:
    rng = np.random.default_rng(0)
    texts = {prompt_of(PAIR, rng) for _ in range(300)}
    assert len(texts) > 150
    assert all(re.search("red circle.*blue star", text) and "sea" in text for text in texts)


def test_canonical_prompts_of_pairs_lose_nothing() -> None:
    scenes = {scene for scene in pairs(500) if scene.motion in ("still", *ALONG[0], *ALONG[1])}
    assert len({prompt_of(scene) for scene in scenes}) == len(scenes)


# Shadows


def test_a_shadow_lies_below_its_subject_and_can_stay_without_it() -> None:
    scenes = [(0, Scene("desert", False, RED))]
    drawn = [
        draw(scenes, PLACES[0]),
        draw_shadowed(scenes, PLACES[0]),
        draw_shadow_alone(scenes, PLACES[0]),
        draw([(0, Scene("desert", False))], PLACES[0]),
    ]
    plain, both, alone, empty = (frames.astype(int) for frames in drawn)
    # A byte of rounding apart, shadows only darken.
    assert (both <= plain + 1).all() and (both < plain - 30).any()
    assert (alone <= empty + 1).all() and (alone < empty - 30).any()
    rows = np.nonzero((empty - alone > 1).sum((0, 2, 3)))[0]
    assert rows.min() > PLACES[0][0, 1], "below the middle"
    assert [bool(detect(frames).present[0]) for frames in drawn] == [True, True, False, False]


# The detector


def test_both_subjects_are_read_in_every_look_and_place() -> None:
    scenes = every_look()[::2]
    assert np.mean(read(pictures(scenes), scenes)) >= 0.99


def test_both_subjects_are_read_through_the_codec() -> None:
    scenes = every_look()[1::4]
    codec = Generator(load_tiny(), Settings())
    frames = codec.decoded(codec.encoded(pictures(scenes)[:, None]))[:, 0]
    assert np.mean(read(frames, scenes)) >= 0.99


def _in_sight(clip: Clip, frame: int) -> bool:
    seen = clip.visible[:, frame][clip.present[:, frame]]
    return bool((seen > READABLE).all())


def test_clips_in_which_something_happens_are_read() -> None:
    right = []
    for seed, event in enumerate(("none", "disappear", "appear", "colour", "cut", "background")):
        clip = make_clip(100 + seed, 21, event, None if event == "none" else 9, pair=True)
        found = detect_pair(clip.frames[::5])
        right += [
            found[i : i + 1].agrees(clip.scene_at(5 * i))[0] for i in range(5) if _in_sight(clip, 5 * i)
        ]
    assert np.mean(right) >= 0.99


def test_a_single_subject_is_no_pair() -> None:
    rng = np.random.default_rng(1)
    scenes = [random_scene(rng) for _ in range(40)]
    frames = np.concatenate([draw([(0, scene)], np.full((1, 2), 31.5)) for scene in scenes])
    assert all(read(frames, scenes))


def test_places_of_both_are_finer_than_pixels() -> None:
    clip = make_clip(6, 21, pair=True)
    found = detect_pair(clip.frames[::4])
    for slot, (subject, _) in enumerate(clip.scenes[0][1].slots):
        error = np.linalg.norm(found.place_of(subject) - clip.ways[slot, ::4], axis=1)
        assert error.mean() < 0.3
