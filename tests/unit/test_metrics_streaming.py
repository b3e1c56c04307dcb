"""Metrics that take frames as they come: the same as those of the whole video, at any time, again and again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import av
import framepack_transitions
import numpy as np
import pytest
from framepack_transitions import metrics
from framepack_transitions.metrics.scoring.registry import BY_KEY

FPS = 15
CUES = [metrics.Cue(0, "old"), metrics.Cue(2, "new")]
CLASSES = [
    kind
    for kind in vars(metrics).values()
    if isinstance(kind, type) and issubclass(kind, metrics.SwitchMetric)
]
CLASSES.remove(metrics.SwitchMetric)


@pytest.fixture(scope="module")
def scenes(metric_videos: ModuleType) -> dict[str, np.ndarray]:
    return {name: metric_videos.scene((48, 64), seed) for seed, name in enumerate(("old", "new"))}


@pytest.fixture(scope="module")
def reader(metric_videos: ModuleType, scenes: dict[str, np.ndarray]):
    return metric_videos.SceneReader(scenes)


def faded(videos: ModuleType, scenes: dict[str, np.ndarray]) -> np.ndarray:
    """The new scene comes within a second, and everything pans."""
    film = videos.mixed(scenes["old"], scenes["new"], videos.shares(75, 30, "fade", 15))
    return np.stack([np.roll(frame, number, 1) for number, frame in enumerate(film)])


def test_every_metric_of_the_table_has_a_class() -> None:
    assert sorted(kind.key for kind in CLASSES) == sorted(BY_KEY)
    for kind in CLASSES:
        assert kind(CUES).higher_is_better == (BY_KEY[kind.key].better == "high")


@pytest.mark.parametrize("batch", [1, 7, 75])
def test_frames_in_batches_score_as_the_whole_video(metric_videos, scenes, reader, batch: int) -> None:
    film = faded(metric_videos, scenes)
    whole = metrics.evaluate_video(film, CUES, fps=FPS, extractor=reader)
    every = metrics.TransitionMetrics(CUES, fps=FPS, extractor=reader)
    for start in range(0, len(film), batch):
        part = film[start : start + batch]
        every.update(part[0] if batch == 1 else part)
    found = every.compute()
    for key, metric in whole.switches[0].metrics.items():
        other = found.switches[0].metrics[key]
        assert (metric.valid, metric.reason) == (other.valid, other.reason), key
        assert other.value == pytest.approx(metric.value, abs=1e-6, nan_ok=True), key


def test_compute_may_be_called_at_any_time_and_again(metric_videos, scenes, reader) -> None:
    film = faded(metric_videos, scenes)
    motion, early = (metrics.IntentionalDynamics(CUES, fps=FPS, extractor=reader) for _ in range(2))
    for start in range(0, 75, 10):
        motion.update(film[start : start + 10])
        early.update(film[start : start + 10])
        early.compute()
    (expected,), (again,), (asked_often,) = motion.compute(), motion.compute(), early.compute()
    assert expected.valid and again.value == expected.value == asked_often.value


def test_reset_begins_a_new_video(metric_videos, scenes, reader) -> None:
    fidelity = metrics.SwitchTextFidelity(CUES, fps=FPS, extractor=reader)
    fidelity.update(np.repeat(scenes["old"][None], 75, 0))
    assert fidelity.compute()[0].value == pytest.approx(0, abs=0.01)
    fidelity.reset()
    with pytest.raises(ValueError, match="no frames"):
        fidelity.compute()
    fidelity.update(metric_videos.mixed(scenes["old"], scenes["new"], metric_videos.shares(75, 30, "cut")))
    assert fidelity.compute()[0].value == pytest.approx(1, abs=0.01)


def test_options_are_those_of_a_whole_video(metric_videos, scenes) -> None:
    still = np.repeat(scenes["new"][None], 5, 0)
    fidelity = metrics.SwitchTextFidelity(CUES, fps=FPS, target=still, flow="off")
    fidelity.update(metric_videos.mixed(scenes["old"], scenes["new"], metric_videos.shares(75, 30, "cut")))
    assert fidelity.compute()[0].value == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match="3 channels|height, width, 3"):
        fidelity.update(np.zeros((2, 48, 64, 4), np.float32))
    with pytest.raises(ValueError, match="bring all frames of a video to one size"):
        fidelity.update(np.zeros((2, 32, 64, 3), np.float32))
    with pytest.raises(ValueError, match="fps is 0"):
        metrics.SwitchTextFidelity(CUES, fps=0).update(still)


def write(path: Path, pictures: np.ndarray, fps: int, crf: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("frames", "goal_frames"), [(75, 20), (20, 1)])
def test_the_example_of_the_page_runs_on_any_two_files(
    tmp_path: Path, metric_videos, frames: int, goal_frames: int
) -> None:
    """They may differ in size, rate and length; where the first is too short it says so."""
    page = (Path(framepack_transitions.__file__).parent / "docs" / "METRICS.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "sys.argv" in block)
    (tmp_path / "look.py").write_text(code, encoding="utf-8")
    old, new = metric_videos.scene((48, 64), 0), metric_videos.scene((48, 64), 1)
    film = metric_videos.mixed(old, new, metric_videos.shares(frames, 30, "cut"))
    goal = np.repeat(np.repeat(new, 2, 0), 2, 1)[None].repeat(goal_frames, 0)
    files = [
        write(tmp_path / name, (pictures * 255).round().astype(np.uint8), fps, 20)
        for name, pictures, fps in (("a.mp4", film, 30), ("b.mp4", goal, 24))
    ]
    done = subprocess.run(
        [sys.executable, "look.py", *map(str, files)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert set(BY_KEY) < set(lines) and "exposure" in lines["whole"]
    if frames == 75:
        assert float(lines["stf"]) == pytest.approx(1, abs=0.02) and float(lines["tl90"]) == 0
    else:
        assert "behind the last frame" in lines["stf"]
