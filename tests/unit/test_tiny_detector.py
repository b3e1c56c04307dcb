from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from framepack_transitions.tiny.detector import Detection, agrees, detect, jump, matches
from framepack_transitions.tiny.world import (
    BACKGROUNDS,
    COLOURS,
    EVENTS,
    SHAPES,
    SIZE,
    SIZES,
    Clip,
    Scene,
    Subject,
    make_clip,
    render,
)


def _blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    reach = np.arange(-6, 7)
    weights = np.exp(-(reach**2) / (2 * sigma**2))
    padded = np.pad(frames, ((0, 0), (6, 6), (6, 6), (0, 0)), mode="edge")
    tall = sum(weight * padded[:, 6 + step : 6 + step + SIZE] for step, weight in zip(reach, weights))
    wide = sum(weight * tall[:, :, 6 + step : 6 + step + SIZE] for step, weight in zip(reach, weights))
    return wide / weights.sum() ** 2


def _worse(frames: np.ndarray, how: str) -> np.ndarray:
    pixels = frames.astype(np.float32) / 255
    noise = 0.03 * np.random.default_rng(0).standard_normal(pixels.shape)
    return {
        "drawn": frames,
        "soft and noisy": np.clip(_blurred(pixels, 1.0) + noise, 0, 1),
        "blurred": _blurred(pixels, 2.0),
        "dim and tinted": np.clip(0.85 * pixels + np.array([0.03, 0, -0.03]), 0, 1),
    }[how]


def _agreement(clip: Clip, frames: np.ndarray, every: int = 1) -> np.ndarray:
    detection = detect(frames)
    return np.array([agrees(detection[i : i + 1], clip.scene_at(i * every))[0] for i in range(len(frames))])


def _of(scene: Scene, places: list[tuple[float, float]]) -> Detection:
    return detect(np.stack([render(scene, x, y) for x, y in places]))


@pytest.mark.parametrize("how", ["drawn", "soft and noisy", "blurred", "dim and tinted"])
def test_the_truth_is_seen_in_random_clips(how: str) -> None:
    right = []
    for seed in range(32):
        clip = make_clip(1000 + seed, 37, EVENTS[seed % len(EVENTS)])
        right.append(_agreement(clip, _worse(clip.frames[::12], how), 12))
    assert np.concatenate(right).mean() > 0.99


def test_every_subject_is_seen_in_every_scene() -> None:
    for index, background in enumerate(BACKGROUNDS):
        scenes = [
            Scene(background, night, Subject(shape, colour, tuple(SIZES)[index % 2]))
            for night in (False, True)
            for shape in SHAPES
            for colour in COLOURS
        ]
        detection = detect(np.stack([render(scene, 24 + index, 39 - index) for scene in scenes]))
        assert all(agrees(detection[i : i + 1], scene)[0] for i, scene in enumerate(scenes))
        assert set(detection.size) == {tuple(SIZES)[index % 2]}
        assert np.abs(detection.x - 24 - index).max() < 0.3 and np.abs(detection.y - 39 + index).max() < 0.3


def test_positions_are_finer_than_pixels() -> None:
    clip = make_clip(4, 37, shape="circle", colour="red", motion="right")
    detection = detect(clip.frames)
    errors = np.hypot(detection.x - clip.positions[:, 0], detection.y - clip.positions[:, 1])
    assert errors.mean() < 0.15


def test_the_score_falls_as_a_subject_fades_and_is_about_zero_without() -> None:
    scene = Scene("forest", False, Subject("square", "pink", "large"))
    seen, empty = render(scene) / 255, render(replace(scene, subject=None)) / 255
    score = detect(np.stack([share * seen + (1 - share) * empty for share in (1.0, 0.6, 0.3, 0.0)])).score
    assert score[0] > 0.75 and np.all(np.diff(score) < 0) and score[-1] < 0.02


def test_bytes_and_fractions_are_the_same_picture() -> None:
    frames = make_clip(9, 5).frames
    whole, fraction = detect(frames), detect(frames.astype(np.float64) / 255)
    assert np.allclose(whole.score, fraction.score, atol=1e-4) and np.array_equal(whole.shape, fraction.shape)


def test_a_scene_matches_when_most_frames_show_it() -> None:
    clip = make_clip(12, 10, "colour", 4, background="sea")
    detection = detect(clip.frames)
    assert len(detection) == 10 and len(detection[2:6]) == 4
    before, after = (scene for _, scene in clip.scenes)
    assert matches(detection, after) and not matches(detection, before)
    assert matches(detection[:4], before) and not matches(detection[2:6], before)
    assert not matches(detection[:4], replace(before, night=not before.night))
    assert not matches(detection[:4], replace(before, background="city"))
    assert not matches(detection[:4], replace(before, subject=None))
    empty = make_clip(3, 5, empty=True, background="city", night=True)
    assert matches(detect(empty.frames), Scene("city", True))


def test_a_jump_is_the_distance_to_where_the_subject_was_going() -> None:
    scene = Scene("desert", True, Subject("circle", "green", "small"))
    steady = _of(scene, [(20 + 2 * i, 30) for i in range(6)])
    assert jump(steady, 4) < 0.3
    broken = _of(scene, [(20, 30), (22, 30), (24, 30), (26, 36), (28, 36)])
    assert jump(broken, 3) == pytest.approx(6, abs=0.3)
    assert jump(_of(scene, [(20, 30), (25, 30)]), 1) == pytest.approx(5, abs=0.3)


def test_there_is_no_jump_without_a_subject_on_both_sides() -> None:
    clip = make_clip(1, 9, "disappear", 5)
    detection = detect(clip.frames)
    assert np.isnan(jump(detection, 5)) and np.isnan(jump(detection, 6)) and jump(detection, 4) < 1
    with pytest.raises(ValueError, match="needs a frame before"):
        jump(detection, 0)


@pytest.mark.parametrize("shape", [(64, 64, 3), (2, 32, 64, 3), (0, 64, 64, 3)])
def test_other_pictures_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="resize"):
        detect(np.zeros(shape, np.uint8))
