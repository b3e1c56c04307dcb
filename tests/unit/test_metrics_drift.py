"""Drift of exposure, colour and sharpness, and the identity of what stays, where both are known."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from framepack_transitions.metrics import (
    Cue,
    Metric,
    Switch,
    colour_drift,
    evaluate_video,
    exposure_drift,
    identity,
    sharpness_drift,
    windows_of,
)
from framepack_transitions.metrics.colour import lab
from framepack_transitions.metrics.definitions.drift import unchanging
from framepack_transitions.metrics.features import PixelExtractor


@pytest.mark.parametrize(
    ("srgb", "expected"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((119, 119, 119), (50.03, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((2, 2, 2), (0.548, 0, 0)),
    ],
)
def test_lab_of_known_colours(srgb: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    """Published values of the primaries for sRGB and D65."""
    assert lab(np.array(srgb) / 255) == pytest.approx(np.array(expected), abs=0.02)


@pytest.mark.parametrize("frames", [20, 101, 900])
@pytest.mark.parametrize("change", [-0.2, 0.0, 0.1])
def test_a_line_drifts_by_17_20ths_of_its_way(frames: int, change: float) -> None:
    """The middles of the first and of the last 15 % lie 85 % of the way apart."""
    grey = 0.5 + change * np.linspace(0, 1, frames)
    count = round(0.15 * frames)
    expected = lab(np.repeat(grey[:, None], 3, 1))[:, 0]
    expected = expected[-count:].mean() - expected[:count].mean()
    metric = exposure_drift(np.repeat(grey[:, None], 3, 1), (0, frames))
    assert metric.valid and metric.value == pytest.approx(abs(expected))
    assert metric.details["change"] == pytest.approx(expected)
    assert colour_drift(np.repeat(grey[:, None], 3, 1), (0, frames)).value == pytest.approx(0, abs=1e-3)
    sharp = sharpness_drift(2.0 ** (change * np.arange(frames) / frames), (0, frames))
    assert sharp.value == pytest.approx(abs(change) * (frames - count) / frames) and np.isnan(sharp.founding)


def test_colour_drifts_apart_from_lightness() -> None:
    colours = np.array([[0.5, 0.5, 0.5]] * 50 + [[0.6, 0.45, 0.45]] * 50)
    first, last = lab(colours[0]), lab(colours[-1])
    metric = colour_drift(colours, (0, 100))
    assert metric.value == pytest.approx(np.hypot(*(last - first)[1:]))
    assert metric.details["a"] > 0 and metric.curve is not None and metric.curve[0] == 0


def test_frames_outside_of_the_range_and_broken_ones_count_not() -> None:
    colours = np.full((60, 3), 0.5)
    colours[:20], colours[22] = 0.9, np.nan
    metric = exposure_drift(colours, (20, 60))
    assert metric.value == 0 and np.isnan(metric.curve[19]) and np.isnan(metric.curve[22])
    assert not exposure_drift(np.full((60, 3), np.nan), (20, 60)).valid
    assert not exposure_drift(colours, (60, 60)).valid


def test_what_the_prompt_asked_for_is_no_drift() -> None:
    windows = windows_of(Switch(frame=30, requested=1.0, old="a", new="b"), [], 120, 30)
    arrived, waiting, unknown = (
        Metric(value, np.nan, valid, censored=censored)
        for value, valid, censored in ((18.0, True, False), (90.0, True, True), (np.nan, False, False))
    )
    assert unchanging(windows, arrived) == (48, 120)
    assert unchanging(windows, waiting) == unchanging(windows, unknown) == windows.settled == (90, 120)


@pytest.mark.parametrize("fps", [15, 24, 30])
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_a_video_whose_new_scene_grows_dark_and_dull(
    metric_videos: ModuleType, size: tuple[int, int], fps: int
) -> None:
    old, new = (metric_videos.scene(size, seed) for seed in (1, 2))
    frames, switch = 6 * fps, 2 * fps
    video = metric_videos.mixed(old, new, metric_videos.shares(frames, switch, "cut"))
    still, dark = video, video.copy()
    for number in range(switch, frames):
        dark[number] *= 1 - 0.3 * (number - switch) / (frames - switch)
    cues = [Cue(start=0, prompt="old"), Cue(start=2, prompt="new")]
    how = {"fps": fps, "flow": "off", "extractor": metric_videos.SceneReader({"old": old, "new": new})}
    calm, drifting = (evaluate_video(film, cues, **how).switches[0].metrics for film in (still, dark))
    for key in ("exposure_drift", "colour_drift", "sharpness_drift"):
        assert calm[key].valid and calm[key].value == pytest.approx(0, abs=1e-4)
    lost = drifting["sharpness_drift"].details
    shown = np.log2(1 - 0.3 * np.arange(frames - switch) / (frames - switch))[-round(lost["frames"]) :]
    count = round(0.15 * len(shown))
    assert lost["frames"] > 2 * fps, "most of the stretch lies after the cut has arrived"
    assert lost["change"] == pytest.approx(shown[-count:].mean() - shown[:count].mean(), abs=1e-3)
    assert drifting["exposure_drift"].details["change"] < -5


class Painted:
    """A detector of whatever differs from the empty scene, with its box."""

    name = "painted"

    def __init__(self, empty: np.ndarray) -> None:
        self.empty = empty

    def detect(self, frames, concepts):
        different = (np.abs(np.asarray(frames) - self.empty) > 0.05).any(-1)
        found = different.any((1, 2))
        boxes = np.full((len(frames), len(concepts), 4), np.nan)
        for number in np.flatnonzero(found):
            rows, columns = (np.flatnonzero(different[number].any(axis)) for axis in (1, 0))
            height, width = different.shape[1:]
            box = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
            boxes[number] = box
        return SimpleNamespace(confidence=np.repeat(found[:, None] * 1.0, len(concepts), 1), boxes=boxes)


def walking(
    videos: ModuleType, size: tuple[int, int], frames: int, switch: int, after: np.ndarray | None
) -> np.ndarray:
    """A striped square walks to the right; from the switch on it looks like `after`, or is gone."""
    picture = videos.scene((16, 16), 5)
    video = np.repeat(np.full((1, *size, 3), 0.4, np.float32), frames, 0)
    for number in range(frames):
        shown = picture if number < switch else after
        if shown is not None:
            left = round((size[1] - 16) * number / frames)
            video[number, 20:36, left : left + 16] = shown
    return video


@pytest.mark.parametrize("fps", [15, 30])
def test_identity_is_that_of_the_subject_wherever_it_goes(metric_videos: ModuleType, fps: int) -> None:
    frames, switch, size = 4 * fps, 2 * fps, (64, 96)
    same, other = metric_videos.scene((16, 16), 5), metric_videos.scene((16, 16), 9)
    cues = [Cue(start=0, prompt="old"), Cue(start=2, prompt="new")]
    how = {"fps": fps, "flow": "off", "detector": Painted(np.full((*size, 3), 0.4)), "kept": ["it"]}
    values = []
    for after in (same, 0.5 * (same + other), other, None):
        video = walking(metric_videos, size, frames, switch, after)
        values.append(evaluate_video(video, cues, **how).switches[0].metrics["identity"])
    stays, half, swapped, gone = values
    assert stays.value == pytest.approx(1, abs=0.02)
    assert swapped.value < half.value < stays.value and swapped.value < 0.8
    assert not gone.valid and "seen in 0%" in gone.reason
    centre = PixelExtractor().images(np.full((1, 16, 16, 3), 0.5, np.float32))[0]
    vectors = PixelExtractor().images(np.stack([same, other])) - centre
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
    assert swapped.value == pytest.approx(cosine, abs=0.05), "the cosine of the two pictures themselves"


def test_identity_without_a_subject_says_so() -> None:
    windows = windows_of(Switch(frame=30, requested=1.0, old="a", new="b"), [], 90, 30)
    features = np.random.default_rng(0).normal(size=(90, 512))
    assert "does not look like itself" in identity(features, windows).reason
    features[:, 0] += 100
    assert identity(features, windows).value == pytest.approx(1, abs=0.05)
    features[20:30] = np.nan
    assert "before the switch" in identity(features, windows).reason
