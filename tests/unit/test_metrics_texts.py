"""Texts that a model cannot tell apart, or does not read to their end, make no score."""

from __future__ import annotations

from math import exp
from types import ModuleType

import numpy as np
import pytest
from framepack_transitions.metrics import Cue, evaluate_video
from framepack_transitions.metrics.definitions.stf import separation
from framepack_transitions.nodes.evaluation.models import tiny_extractor

FPS = 15


@pytest.fixture(scope="module")
def reader(metric_videos: ModuleType):
    """A reader of three scenes, two of which look alike, and which reads 12 letters of a text."""
    old, new = (metric_videos.scene((48, 64), seed) for seed in (0, 1))
    pictures = {
        "old": old,
        "new": new,
        "nearly old": 0.999 * old + 0.001 * new,
        "old, but then": old,
        "old, but th": old,
    }
    found = metric_videos.SceneReader(pictures)
    found.truncated = lambda texts: [text for text in texts if len(text) > 12]
    return found


def scored(reader, video: np.ndarray, old: str, new: str):
    cues = [Cue(start=0, prompt=old), Cue(start=2, prompt=new)]
    return evaluate_video(video, cues, fps=FPS, extractor=reader, flow="off").switches[0].metrics


@pytest.fixture(scope="module")
def video(reader, metric_videos: ModuleType) -> np.ndarray:
    return metric_videos.mixed(
        reader.pictures["old"], reader.pictures["new"], metric_videos.shares(75, 30, "cut")
    )


@pytest.mark.parametrize("new", ["nearly old", "old, but th"])
def test_texts_that_look_alike_to_the_model_are_not_scored(reader, video, new: str) -> None:
    metrics = scored(reader, video, "old", new)
    for key in ("stf", "ddi", "tl10", "tl90"):
        assert not metrics[key].valid and np.isnan(metrics[key].value), key
    assert f"scenes cannot tell 'old' and '{new}' apart" in metrics["stf"].reason
    assert metrics["stf"].reason in metrics["ddi"].reason


def test_that_a_text_was_cut_is_said(reader, video) -> None:
    alike = scored(reader, video, "old", "old, but then")["stf"]
    assert not alike.valid and "only the beginning of 'old, but then'" in alike.reason
    told_apart = scored(reader, video, "old, but then", "new")["stf"]
    assert told_apart.valid and told_apart.value == pytest.approx(1, abs=0.02)
    assert "only the beginning of 'old, but then'" in told_apart.reason
    assert scored(reader, video, "old", "new")["stf"].reason == ""


@pytest.mark.parametrize("cosine", [1.0, 0.999, 0.99, 0.5, -1.0])
def test_separation_is_what_the_softmax_can_tell(cosine: float) -> None:
    """p of a frame like the new text is 1 / (1 + exp(-scale (1 - cosine))), and of one like the old text the rest."""
    new, old = np.array([1.0, 0.0]), np.array([cosine, np.sqrt(1 - cosine**2)])
    p = 1 / (1 + exp(-50 * (1 - cosine)))
    assert separation(new, old, 50.0) == pytest.approx(p - (1 - p), abs=1e-9)


def test_the_embedded_clip_says_which_texts_it_cuts() -> None:
    """Its context is 32 tokens, two of which mark beginning and end; `circle` is one token."""
    clip = tiny_extractor()
    fits, too_long = " ".join(["circle"] * 30), " ".join(["circle"] * 31)
    assert clip.truncated([fits, too_long, ""]) == [too_long]
    same = [too_long + " at night", too_long + " by day"]
    assert np.array_equal(*clip.texts(same)), "what is cut off changes nothing"
