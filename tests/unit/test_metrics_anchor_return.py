"""Videos that fall back to the scene of their start, drawn so that it is known when."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from framepack_transitions.metrics import Cue, Switch, anchor_return, evaluate_video, windows_of

FIRST, NEW, THIRD = np.eye(3)
NOISE = 0.05


def film(seed: int, *parts: tuple[np.ndarray, int]) -> np.ndarray:
    """Features [T,3] of so many frames of each scene, with some noise."""
    frames = np.concatenate([np.repeat(scene[None], count, axis=0) for scene, count in parts])
    return frames + np.random.default_rng(seed).normal(0, NOISE, frames.shape)


@pytest.fixture(params=[10, 24, 30])
def fps(request: pytest.FixtureRequest) -> int:
    return request.param


def score(features: np.ndarray, fps: int, arrival: int | None = None):
    """The score of a switch after 2 s, in which the new scene comes at once or at frame `arrival`."""
    windows = windows_of(Switch(frame=2 * fps, requested=2.0, old="a", new="b"), [], len(features), fps)
    return anchor_return(features, windows, 2 * fps if arrival is None else arrival)


def test_a_scene_that_stays_does_not_return(fps: int) -> None:
    found = score(film(fps, (FIRST, 2 * fps), (NEW, 6 * fps)), fps)
    assert found.valid and found.value == 0
    assert np.isnan(found.details["first"]) and found.details["longest"] == 0


def test_a_third_scene_is_no_return(fps: int) -> None:
    """It is as far from the start as from the scene before: only one nearer to the start counts."""
    nearer_to_new = THIRD + 0.3 * NEW
    assert score(film(fps, (FIRST, 2 * fps), (NEW, 2 * fps), (nearer_to_new, 4 * fps)), fps).value == 0


@pytest.mark.parametrize("seconds", [1, 2, 4])
def test_the_share_of_the_time_back_at_the_start_is_said(fps: int, seconds: int) -> None:
    """Half a second says what the new scene is: of the 5.5 s that are left `seconds` show the start."""
    features = film(fps, (FIRST, 2 * fps), (NEW, 2 * fps), (FIRST, seconds * fps), (NEW, (4 - seconds) * fps))
    found = score(features, fps)
    assert found.valid and found.value == pytest.approx(2 * seconds / 11, abs=1e-9)
    assert found.details == {"first": 2 * fps, "longest": seconds * fps}


def test_what_comes_before_the_arrival_is_no_return(fps: int) -> None:
    late = film(fps, (FIRST, 4 * fps), (NEW, 4 * fps))
    assert score(late, fps, arrival=4 * fps).value == 0


def test_what_cannot_be_said_is_said(fps: int) -> None:
    missing = film(fps, (FIRST, 2 * fps), (NEW, 6 * fps))
    missing[:fps] = np.nan
    for found, words in (
        (score(film(fps, (FIRST, 2 * fps), (FIRST, 6 * fps)), fps), "looks like the start"),
        (score(film(fps, (FIRST, 2 * fps), (NEW, fps)), fps, arrival=3 * fps - 2), "less than half a second"),
        (score(missing, fps), "no frame of the start"),
    ):
        assert not found.valid and np.isnan(found.value) and words in found.reason


def test_a_video_is_scored_once_its_change_has_come(metric_videos: ModuleType) -> None:
    old, new = (metric_videos.scene((48, 48), seed) for seed in (1, 2))
    cues = [Cue(start=0, prompt="old"), Cue(start=1, prompt="new")]
    stays = np.repeat(np.stack([old, new, new, new]), 30, axis=0)
    returns = np.repeat(np.stack([old, new, old, old]), 30, axis=0)
    found = {
        name: evaluate_video(frames, cues, target=new[None]).switches[0].metrics["anchor_return"]
        for name, frames in (("stays", stays), ("returns", returns))
    }
    assert found["stays"].valid and found["stays"].value == 0
    # Half a second of the new scene counts for what it looks like, another for not having gone back yet, then 2 s have.
    assert found["returns"].valid and found["returns"].value == pytest.approx(4 / 5)
    frozen = evaluate_video(np.repeat(old[None], 120, axis=0), cues, target=new[None]).switches[0].metrics
    assert (
        not frozen["anchor_return"].valid and "not known that the new scene" in frozen["anchor_return"].reason
    )
