"""Ghosts of subjects that move: followed by the box of a detector, or said to be beyond a score."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from framepack_transitions.metrics import Cue, Switch, evaluate_video, ghosting, windows_of
from framepack_transitions.metrics.measuring.clip import RegionRecorder, followed_boxes

CUES = [Cue(start=0, prompt="a square"), Cue(start=2, prompt="go", state="nothing")]
OPACITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Walk:
    """A striped square that walks over a grey floor to and fro; after the switch its ghost walks on."""

    side = 14

    def __init__(self, videos: ModuleType, size: tuple[int, int], fps: int) -> None:
        self.picture = videos.scene((self.side, self.side), 5)
        self.size, self.fps, self.frames, self.switch = size, fps, 4 * fps, 2 * fps
        ramp = np.linspace(0.3, 0.5, size[1], dtype=np.float32)
        self.ground = np.broadcast_to(ramp[None, :, None], (*size, 3)).copy()
        self.name = "walker"

    def place(self, number: int) -> tuple[int, int]:
        share = 0.5 - 0.5 * np.cos(2 * np.pi * number / self.frames * 1.5)
        return round((self.size[0] - self.side) * share), round((self.size[1] - self.side) * share)

    def video(self, opacity: float) -> np.ndarray:
        film = np.repeat(self.ground[None], self.frames, 0).copy()
        for number, frame in enumerate(film):
            top, left = self.place(number)
            window = frame[top : top + self.side, left : left + self.side]
            window += (1.0 if number < self.switch else opacity) * (self.picture - window)
        return film

    def detect(self, frames, concepts):
        """Whatever differs from the floor, with its box."""
        different = (np.abs(np.asarray(frames) - self.ground) > 0.02).any(-1)
        found, boxes = different.any((1, 2)), np.full((len(frames), len(concepts), 4), np.nan)
        height, width = self.size
        for number in np.flatnonzero(found):
            rows, columns = (np.flatnonzero(different[number].any(axis)) for axis in (1, 0))
            boxes[number] = (
                columns[0] / width,
                rows[0] / height,
                (columns[-1] + 1) / width,
                (rows[-1] + 1) / height,
            )
        return SimpleNamespace(confidence=np.repeat(found[:, None] * 1.0, len(concepts), 1), boxes=boxes)

    def gas(self, opacity: float, **options):
        known = {"detector": self, "vanishing": ["square"], "reference": np.repeat(self.ground[None], 20, 0)}
        scores = evaluate_video(self.video(opacity), CUES, fps=self.fps, flow="off", **known, **options)
        return scores.switches[0].metrics["gas"]


@pytest.fixture(params=[((48, 96), 15), ((64, 64), 30), ((80, 48), 24)], ids=str)
def walk(request: pytest.FixtureRequest, metric_videos: ModuleType) -> Walk:
    return Walk(metric_videos, *request.param)


def test_by_its_box_the_ghost_of_what_moves_grows_with_its_opacity(walk: Walk) -> None:
    found = [walk.gas(opacity, box="detected") for opacity in OPACITIES]
    assert all(metric.valid for metric in found)
    values = [metric.value for metric in found]
    assert (np.diff(values) >= -1e-6).all()
    assert values[0] <= 0.05 and values[-1] > 0.9


def test_by_whole_frames_it_is_not_valid_and_says_why(walk: Walk) -> None:
    """Each frame is new where the square goes, so that even an ignored prompt would look like a changed scene."""
    metric = walk.gas(1.0)
    assert not metric.valid and (
        "it would score" in metric.reason or "looks like the old scene" in metric.reason
    )
    assert "detector" in metric.reason


@pytest.mark.parametrize("turn", [0.0, 0.02, 0.5])
def test_a_scene_scores_what_it_would_if_it_went_on(turn: float) -> None:
    """Frames on a circle, `turn` radians apart: the second half of those before resembles the first by their cosines."""
    angles = turn * np.arange(90)
    features = np.stack([np.cos(angles), np.sin(angles), np.zeros(90)], 1)
    windows = windows_of(Switch(frame=45, requested=1.5, old="a", new="b"), [], 90, 30)
    metric = ghosting(features, windows, reference=[[0.0, 0.0, 1.0]])
    count = windows.before[1] - windows.before[0]
    nearest = [
        max(np.cos(turn * (late - early)) for early in range(count // 2)) for late in range(count // 2, count)
    ]
    expected = max(np.mean(nearest), 0)
    assert metric.valid == (expected >= 0.8)
    assert metric.details["unchanged"] == pytest.approx(expected)


def test_a_box_moves_evenly_between_detections_and_stays_at_the_ends() -> None:
    boxes = np.full((7, 4), np.nan)
    boxes[1], boxes[3], boxes[5] = (0.1, 0.2, 0.3, 0.4), (0.3, 0.2, 0.5, 0.4), (0.9, 0.9, 0.9, 1.2)
    followed = followed_boxes(boxes, np.ones(7, bool))
    assert followed[:, 0] == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.3, 0.3, 0.3])
    assert followed[:, 3] == pytest.approx(0.4)
    assert followed_boxes(boxes, np.zeros(7, bool)) is None


def test_what_is_cut_out_keeps_its_size_and_stays_in_the_picture() -> None:
    class Reader:
        def images(self, frames):
            return np.asarray([[frames.shape[1], frames.shape[2], frame[0, 0, 0]] for frame in frames])

    numbered = (np.arange(10)[:, None] * 10.0 + np.arange(10)).astype(np.float32)[None, :, :, None]
    film = np.repeat(np.repeat(numbered, 3, 3), 4, 0)
    recorder = RegionRecorder(Reader(), [(0.0, 0.0, 0.2, 0.3), (0.4, 0.5, 0.6, 0.7), (0.8, 0.9, 1.0, 1.0)])
    list(recorder.watch([film[:3], film[3:]]))
    # Three rows and two columns; the box of the fourth frame is the first one again.
    assert recorder.region().inside.tolist() == [[3, 2, 0], [3, 2, 54], [3, 2, 78], [3, 2, 0]]
