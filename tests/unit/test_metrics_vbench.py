"""VBench's two axes that need no model of their own, on videos whose scores are known."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from framepack_transitions.metrics import (
    BackgroundConsistency,
    Cue,
    TemporalFlickering,
    background_consistency,
    evaluate_video,
    temporal_flickering,
)
from framepack_transitions.metrics.definitions.vbench.consistency import BACKBONES

CUES = (Cue(0, "old"), Cue(1, "new"))


def vbench_flickering(frames: np.ndarray) -> float:
    """VBench's formula over whole pictures of 8 bits, by its paper."""
    pictures = frames.astype(np.float64)
    return (255 - np.mean([np.abs(a - b).mean() for a, b in pairwise(pictures)])) / 255


def vbench_consistency(features: np.ndarray) -> float:
    """VBench's formula frame by frame, by its paper."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return max(0.0, float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))

    pairs = pairwise(features)
    return float(np.mean([(cosine(a, b) + cosine(features[0], b)) / 2 for a, b in pairs]))


def noise(frames: int, size: tuple[int, int] = (20, 24)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, *size, 3), np.uint8)


def waves(frames: int) -> np.ndarray:
    """A pattern of stripes that moves, in 8 bits."""
    phase = np.arange(frames)[:, None, None, None] / 7 + np.arange(24)[None, None, :, None] / 4
    tint = np.arange(3) / 5
    return np.broadcast_to(127 + 100 * np.sin(phase + tint), (frames, 20, 24, 3)).astype(np.uint8)


def film(frames: np.ndarray, **options):
    return evaluate_video(frames, CUES, fps=15, **options).switches[0].metrics


class TestTemporalFlickering:
    def test_a_still_does_not_flicker_and_black_and_white_in_turn_do_all_the_time(self) -> None:
        assert temporal_flickering(np.zeros(9), (0, 10)).value == 1
        assert temporal_flickering(np.ones(9), (0, 10)).value == 0

    @pytest.mark.parametrize("step", [1, 8, 60])
    def test_a_step_between_all_frames_is_its_share_of_255(self, step: int) -> None:
        frames = np.full((45, 16, 16, 3), 100, np.uint8)
        frames[1::2] += np.uint8(step)
        found = film(frames)["temporal_flickering"]
        assert found.value == pytest.approx(1 - step / 255) and np.isnan(found.founding)

    @pytest.mark.parametrize("form", [np.uint8, np.float32])
    def test_it_is_vbenchs_number_for_the_part_after_the_switch(self, form: type) -> None:
        frames = noise(45)
        given = frames if form is np.uint8 else frames.astype(form) / 255
        found = film(given)["temporal_flickering"]
        assert found.value == pytest.approx(vbench_flickering(frames[15:]), abs=1e-6)
        assert found.details["frames"] == 30 and np.isnan(found.curve[:16]).all()

    def test_frames_that_come_one_by_one_give_the_same(self) -> None:
        frames = noise(45)
        metric = TemporalFlickering(CUES, fps=15)
        for frame in frames:
            metric.update(frame)
        assert metric.compute()[0].value == pytest.approx(vbench_flickering(frames[15:]), abs=1e-6)
        assert metric.higher_is_better

    def test_a_broken_frame_is_left_out(self) -> None:
        frames = np.full((45, 16, 16, 3), 0.5, np.float32)
        frames[20] = np.nan
        found = temporal_flickering([0.0, np.nan, np.nan, 0.5], (0, 5))
        assert found.value == 0.75
        assert np.isnan(film(frames)["temporal_flickering"].curve[[20, 21]]).all()

    def test_too_few_frames_are_said(self) -> None:
        assert "fewer than two" in temporal_flickering(np.zeros(9), (9, 10)).reason
        assert "finite" in temporal_flickering(np.full(9, np.nan), (0, 10)).reason


class TestBackgroundConsistency:
    def test_a_turn_of_a_known_angle(self) -> None:
        """Every frame is turned by 30 degrees from the one before: the third looks at right angles to the first."""
        angles = np.radians(30 * np.arange(4))
        features = 7 * np.stack([np.cos(angles), np.sin(angles)], 1)
        cosines = np.cos(np.radians([30, 60, 90]))
        expected = np.mean((np.cos(np.radians(30)) + cosines) / 2)
        assert background_consistency(features, (0, 4)).value == pytest.approx(expected)

    def test_what_points_the_other_way_counts_as_nothing_in_common(self) -> None:
        features = np.array([[1.0, 0], [-1, 0], [-1, 0]])
        assert background_consistency(features, (0, 3)).value == pytest.approx((0 + 0.5) / 2)

    @pytest.mark.parametrize("span", [(0, 12), (3, 9)])
    def test_it_is_vbenchs_number(self, span: tuple[int, int]) -> None:
        features = np.random.default_rng(1).normal(0.5, 1, (12, 8))
        found = background_consistency(features, span)
        assert found.value == pytest.approx(vbench_consistency(features[slice(*span)]))
        assert np.isfinite(found.curve).sum() == span[1] - span[0] - 1

    def test_it_is_told_by_vbenchs_own_backbone_alone(self, metric_videos: ModuleType) -> None:
        frames = waves(45)
        told = film(frames)["background_consistency"]
        assert not told.valid and "ViT-B/32" in told.reason and "pixel" in told.reason
        reader = metric_videos.SceneReader({"old": frames[0] / 255.0, "new": frames[-1] / 255.0})
        reader.name = BACKBONES[0]
        found = film(frames, extractor=reader)["background_consistency"]
        features = reader.images(frames[15:] / 255)
        assert found.valid and found.value == pytest.approx(vbench_consistency(features), abs=1e-5)
        metric = BackgroundConsistency(CUES, fps=15, extractor=reader)
        metric.update(frames)
        assert metric.compute()[0].value == pytest.approx(found.value)

    def test_too_few_frames_are_said(self) -> None:
        assert "fewer than two" in background_consistency(np.ones((9, 2)), (9, 9)).reason
