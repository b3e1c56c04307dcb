"""How much of a named subject is seen: ghosts at known opacities, other subjects, and what becomes of DF with them."""

from __future__ import annotations

import numpy as np
import pytest
from framepack_transitions.metrics import Cue, evaluate_video
from framepack_transitions.metrics.features import PixelExtractor
from framepack_transitions.nodes.evaluation.world_detector import WorldDetector
from framepack_transitions.tiny.presence import presence, wanted_subjects
from framepack_transitions.tiny.world import BACKGROUNDS, COLOURS, SHAPES, Scene, Subject, make_clip, render

OPACITIES = (0.0, 0.1, 0.25, 0.4, 0.5, 0.75, 1.0)
SUBJECTS = [
    Subject("circle", "red", "large"),
    Subject("star", "yellow", "small"),
    Subject("square", "white", "large"),
    Subject("triangle", "pink", "small"),
]


def pictures(background: str, night: bool, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """The scene with its subject and without."""
    scenes = (Scene(background, night, shown, "still") for shown in (subject, None))
    there, empty = (render(scene, 30, 34).astype(np.float32) / 255 for scene in scenes)
    return there, empty


def ghosts(background: str, night: bool, subject: Subject) -> np.ndarray:
    there, empty = pictures(background, night, subject)
    return np.stack([opacity * there + (1 - opacity) * empty for opacity in OPACITIES])


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
@pytest.mark.parametrize("night", [False, True])
def test_a_ghost_has_its_opacity_and_nothing_else_is_there(subject: Subject, night: bool) -> None:
    for background in BACKGROUNDS:
        frames = ghosts(background, night, subject)
        found = presence(frames, wanted_subjects({subject.shape}, {subject.colour}, set()))
        assert found.score == pytest.approx(np.array(OPACITIES), abs=0.16)
        assert (np.diff(found.score) > 0).all()
        assert found.x[3:] == pytest.approx(30, abs=1) and found.y[3:] == pytest.approx(34, abs=1)
        for other in (
            ({*SHAPES} - {subject.shape}, {subject.colour}),
            ({subject.shape}, {*COLOURS} - {subject.colour}),
        ):
            assert presence(frames, wanted_subjects(*other, set())).score.max() <= 0.01


def test_noise_is_nothing() -> None:
    _, empty = pictures("sky", False, SUBJECTS[0])
    frames = empty + 0.03 * np.random.default_rng(0).standard_normal((8, *empty.shape)).astype(np.float32)
    assert presence(frames, wanted_subjects(set(), set(), set())).score.max() < WorldDetector.floor


@pytest.mark.parametrize("seed", range(6))
def test_both_of_two_subjects_are_seen_where_they_are_and_no_third_one(seed: int) -> None:
    clip = make_clip(seed, 5, pair=True)
    pair = clip.scenes[0][1].subject, clip.scenes[0][1].second
    for subject, places in zip(pair, clip.ways):
        found = presence(clip.frames, wanted_subjects({subject.shape}, {subject.colour}, set()))
        assert found.score.min() > 0.5
        assert np.stack([found.x, found.y], -1) == pytest.approx(places, abs=1.5)
    shapes, colours = (
        {*known} - {getattr(subject, name) for subject in pair}
        for name, known in (("shape", SHAPES), ("colour", COLOURS))
    )
    assert presence(clip.frames, wanted_subjects(shapes, colours, set())).score.max() < WorldDetector.floor


@pytest.mark.parametrize("fps", [15, 30])
@pytest.mark.parametrize("subject", SUBJECTS[:2], ids=str)
def test_df_falls_evenly_with_the_opacity_of_what_stays(subject: Subject, fps: int) -> None:
    there, empty = pictures("city", False, subject)
    concept = f"a {subject.colour} {subject.shape}"
    cues = [Cue(start=0, prompt=concept), Cue(start=1, prompt="nothing")]
    values = []
    for opacity in OPACITIES:
        stays = opacity * there + (1 - opacity) * empty
        video = np.stack([there if number < fps else stays for number in range(2 * fps)])
        how = {"extractor": PixelExtractor(), "detector": WorldDetector((concept,)), "vanishing": [concept]}
        metric = evaluate_video(video, cues, fps=fps, flow="off", **how).switches[0].metrics["df"]
        assert metric.valid and not metric.reason
        values.append(metric.value)
    assert values == pytest.approx(1 - np.array(OPACITIES), abs=0.1)
    assert (np.diff(values) < 0).all()
