"""The truth table once more, of videos that were compressed as people share them, and worse."""

from __future__ import annotations

import io
from functools import lru_cache
from types import ModuleType

import av
import numpy as np
import pytest
from framepack_transitions.metrics import Cue, evaluate_video
from framepack_transitions.metrics.measuring.image_statistics import blockiness
from torch import from_numpy

CUES = [Cue(start=0, prompt="old"), Cue(start=2, prompt="new")]


def compressed(film: np.ndarray, fps: int, crf: int) -> np.ndarray:
    """Frames [T,H,W,3] as uint8, after H.264."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = *film.shape[1:3], "yuv420p"
        for picture in (film * 255).round().astype(np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


class Films:
    """Grainy scenes, since nothing that a camera or a model makes is smooth."""

    def __init__(self, videos: ModuleType, size: tuple[int, int], fps: int) -> None:
        self.videos, self.fps, self.frames, self.switch = videos, fps, 4 * fps, 2 * fps
        self.old, self.new = (self._scene(size, seed) for seed in (1, 2))
        self.reader = videos.SceneReader({"old": self.old, "new": self.new})

    def _scene(self, size: tuple[int, int], seed: int) -> np.ndarray:
        grain = 0.06 * np.random.default_rng(seed).standard_normal((*size, 3))
        return np.clip(self.videos.scene(size, seed) + grain, 0, 1).astype(np.float32)

    def mixed(self, kind: str, amount: float = 0) -> np.ndarray:
        return self.videos.mixed(
            self.old, self.new, self.videos.shares(self.frames, self.switch, kind, amount)
        )

    def panning(self) -> np.ndarray:
        """The new scene comes at once, and from then on the camera pans by half a pixel a frame."""
        moved = np.maximum(np.arange(self.frames) - self.switch, 0) // 2
        return np.stack([np.roll(frame, by, 1) for frame, by in zip(self.mixed("cut"), moved)])

    def metrics(self, film: np.ndarray, crf: int, **options):
        still = np.repeat(self.new[None], 5, 0)
        how = {
            "extractor": self.reader,
            "fps": self.fps,
            "flow": "off",
            "reference": still,
            "target": still,
        } | options
        return evaluate_video(compressed(film, self.fps, crf), CUES, **how).switches[0].metrics


@lru_cache
def films_of(videos: ModuleType, size: tuple[int, int], fps: int) -> Films:
    return Films(videos, size, fps)


@pytest.mark.parametrize("crf", [18, 35, 45])
@pytest.mark.parametrize(("size", "fps"), [((64, 96), 15), ((96, 64), 24), ((128, 128), 30)])
def test_the_truth_table_holds_after_compression(metric_videos, size, fps: int, crf: int) -> None:
    films = films_of(metric_videos, size, fps)
    cut, late, ignored = (
        films.metrics(films.mixed(*kind), crf) for kind in (("cut",), ("cut", fps // 2), ("frozen",))
    )
    for metrics, wait in ((cut, 0), (late, fps // 2)):
        assert metrics["stf"].valid and metrics["stf"].value == pytest.approx(1, abs=0.02)
        assert metrics["tl90"].valid and not metrics["tl90"].censored
        assert metrics["tl90"].value == pytest.approx(wait, abs=1)
    assert cut["gas"].valid and cut["gas"].value <= 0.1
    assert ignored["stf"].valid and ignored["stf"].value == pytest.approx(0, abs=0.05)
    assert ignored["tl90"].censored and ignored["tl90"].founding == films.frames - films.switch
    assert ignored["gas"].value == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("crf", [18, 30, 45, 51])
@pytest.mark.parametrize("size", [(64, 96), (96, 128)])
def test_motion_is_not_scored_where_the_blocks_of_compression_move(metric_videos, size, crf: int) -> None:
    films = films_of(metric_videos, size, 30)
    moves = films.metrics(films.panning(), crf, flow="auto", reference=None)["ddi"]
    assert moves.value > 0 or not moves.valid, "the sign of a valid score is that of the film as it was"
    assert moves.valid if crf < 45 else moves.valid <= (crf < 51)
    assert moves.valid or "compressed so strongly" in moves.reason


def test_an_edge_of_what_is_shown_is_no_block() -> None:
    """A bright square whose edges lie at borders of blocks, in a picture without any."""
    picture = np.full((1, 128, 128, 3), 0.2, np.float32)
    picture[:, 32:64, 40:72] = 0.9
    assert blockiness(from_numpy(picture))[0] < 0.25


def test_blockiness_is_the_excess_of_steps_every_eight_pixels() -> None:
    """Steps of 10 levels across every eighth border and 2 elsewhere, up and down in turn, along both axes."""
    steps = np.where(np.arange(1, 64) % 8 == 0, 10, 2) * np.where(np.arange(63) % 2, 1, -1)
    line = 128 + np.concatenate([[0], np.cumsum(steps)])
    frames = np.stack([np.add.outer(line, line) / 2] * 2)[..., None].repeat(3, 3)
    expected = [(10 - 2) / 2] * 2
    assert blockiness(from_numpy(frames.astype(np.float32) / 255)) == pytest.approx(expected, abs=1e-3)
    assert blockiness(from_numpy(frames.astype(np.uint8))) == pytest.approx(expected, abs=0.5)
    assert blockiness(from_numpy(np.full((1, 32, 32, 3), 0.5, np.float32))) == 0
    assert np.isnan(blockiness(from_numpy(np.zeros((1, 4, 4, 3), np.float32)))).all()
