"""The agreement study: its statistics, the clips whose truth it relies on, and one small run."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from framepack_transitions.benchmarks import statistics
from framepack_transitions.benchmarks.agreement import figures, rendered
from framepack_transitions.benchmarks.agreement import pictures as agreement_pictures
from framepack_transitions.benchmarks.agreement import study as agreement
from framepack_transitions.benchmarks.agreement.measuring import (
    ClipMeasurements,
    Scores,
    confidence_of,
    presence_of,
    states_of,
)
from framepack_transitions.benchmarks.agreement.study import CachedScorer, ScoredClip
from framepack_transitions.benchmarks.transition import bench as transition
from framepack_transitions.benchmarks.transition.arms import PLAIN
from framepack_transitions.benchmarks.transition.bench import Bench
from framepack_transitions.benchmarks.transition.running.recording import VIDEOS, load_video_frames
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings, EpisodeSampler
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.tiny.detector import agrees, detect
from framepack_transitions.tiny.world import Scene, Subject, render
from PIL import Image

SMALL = BenchSettings(window=3, steps=1, before=1, after=1)


class ColourExtractor:
    """Features without weights: mean colours of the picture's quarters; texts are all different and mean nothing."""

    name, logit_scale, resolution = "colours", 10.0, None

    def images(self, frames):
        frames = np.asarray(frames, np.float32) / (255 if frames.dtype == np.uint8 else 1)
        return (
            frames.reshape(len(frames), 2, frames.shape[1] // 2, 2, -1, 3)
            .mean((2, 4))
            .reshape(len(frames), 12)
        )

    def texts(self, texts):
        return np.stack([np.random.default_rng(list(text.encode())).normal(size=12) for text in texts])


def scored(
    source="rendered", kind="at once", event="night", seed=0, succeeds=True, latency=None, gone=None, **scores
):
    known = dict.fromkeys(Scores.__dataclass_fields__) | scores
    return ScoredClip(
        source=source,
        kind=kind,
        event=event,
        seed=seed,
        succeeds=succeeds,
        latency=latency,
        gone=gone,
        scores=Scores(**known),
    )


class TestRenderedClips:
    @pytest.mark.parametrize("seed", range(len(rendered.EVENTS)))
    def test_the_detector_sees_what_a_clip_is_said_to_show(self, seed):
        for clip in rendered.rendered_clips(seed):
            if clip.kind in (*rendered.GHOSTS, "fading"):
                continue
            found = detect(clip.frames)
            new = agrees(found, clip.shown)
            assert (new == (clip.share == 1))[rendered.BEFORE :].all(), clip.kind
            assert agrees(found, clip.before)[: rendered.BEFORE].all()
            ends = agrees(found, clip.after)[-rendered.AFTER // 3 :].mean() > 0.5
            assert ends == clip.succeeds, clip.kind
            if clip.latency is not None:
                assert np.flatnonzero(new[rendered.BEFORE :])[0] == clip.latency
            if clip.is_gone is not None:
                seen = confidence_of(found, clip.before)[-rendered.AFTER // 3 :] > 0.4
                assert seen.any() != clip.is_gone, clip.kind

    def test_a_fade_is_done_with_nine_tenths(self):
        clip = next(clip for clip in rendered.rendered_clips(3) if clip.kind == "fading")
        reached = clip.share[rendered.BEFORE :] >= 0.9
        assert reached[clip.latency :].all() and not reached[: clip.latency].any()

    def test_what_is_seen_of_a_subject_follows_its_opacity(self):
        scene = Scene("sea", True, Subject("star", "red", "large"))
        whole, empty = (render(one, 32, 32).astype(float) for one in (scene, replace(scene, subject=None)))
        for opacity in (0.0, 0.25, 0.5, 1.0):
            mixed = np.round(opacity * whole + (1 - opacity) * empty).astype(np.uint8)
            assert presence_of(mixed[None], scene) == pytest.approx(opacity, abs=0.1)
        assert presence_of(whole[None].astype(np.uint8), replace(scene, subject=None)) == 0

    def test_clips_are_always_the_same(self):
        first, second = (rendered.rendered_clips(1) for _ in range(2))
        assert all((one.frames == other.frames).all() for one, other in zip(first, second))

    def test_neighbours_differ_in_one_respect(self):
        scene = Scene("sea", True, Subject("star", "red", "large"))
        others = rendered.neighbours(scene)
        assert len(others) == 4 + 1 + 3 + 5 + 1 and scene not in others
        states = states_of(scene, Scene("sea", True))
        assert states[:2] == [Scene("sea", True), scene] or states[0] == scene
        assert len(states) == len(set(states))

    def test_unknown_kinds_are_refused(self):
        with pytest.raises(ValueError, match="no clips of kind 'odd'"):
            rendered.shares("odd", np.random.default_rng(0))


class TestGates:
    def test_figures_follow_from_the_clips(self):
        clips = [
            scored(seed=0, latency=0, tl=1.0, stf=0.9, stf_reference=1.0, gas=0.0),
            scored(seed=1, latency=4, tl=inf, stf=0.2, stf_reference=0.8),
            scored(kind="never", succeeds=False, stf=0.4, stf_reference=0.1, gas=0.9),
            *(
                scored(kind=kind, succeeds=None, gas=gas)
                for kind, gas in zip(rendered.GHOSTS, (0.2, 0.1, 0.5))
            ),
        ]
        arms = {"plain": (0.1, False), "a": (0.5, True), "b": (0.4, True)}
        clips += [
            scored("generated", arm, "cut", 0, right, stf=mean, stf_reference=mean)
            for arm, (mean, right) in arms.items()
        ]
        rows = {(row["question"], row["clips"], row["by"]): row for row in figures.gates(clips)}
        found = rows["STF against success, AUC", "rendered", "with reference"]
        assert (found["value"], found["n"], found["met"]) == (1, 3, True)
        assert rows["STF against success, AUC", "rendered", "texts alone"]["value"] == 0.5
        within = rows["TL90 within 2 frames", "rendered", "abrupt changes"]
        assert (within["value"], within["n"], within["met"]) == (0.5, 2, False)
        assert rows["TL90 within 2 frames", "rendered", "all changes"]["value"] == 0.5
        rising = rows["GAS rises with opacity", "rendered", "place, time, cut"]
        assert (rising["value"], rising["n"]) == (0, 1), "0.2 falls to 0.1"
        ranks = rows["STF against success, ranks of arm means", "generated", "with reference"]
        assert ranks["value"] == pytest.approx(statistics.rank_correlation([0, 1, 1], [0.1, 0.5, 0.4]))
        assert agreement.to_json(clips[1])["scores"]["tl"] == "never"
        assert "**missed**" in agreement_pictures.table(clips)

    def test_nothing_measured_is_no_figure(self):
        assert all(row["value"] is None and row["met"] is None for row in figures.gates([]))


def test_a_small_run_goes_on_where_it_stopped_and_draws(tmp_path, monkeypatch):
    bundle = load_tiny(weights=Path("nowhere"))
    bench = Bench(
        folder=tmp_path / "generated",
        seeds=1,
        settings=SMALL,
        arms=(PLAIN,),
        cases=("colour",),
        keeps_videos=True,
    )
    results = transition.run(bench, EpisodeSampler(bundle, SMALL))
    monkeypatch.setattr(rendered, "KINDS", ("at once", "never"))
    cached_scorer = CachedScorer(tmp_path, bundle.vae, ColourExtractor())
    result = results[0]
    frames, switch = load_video_frames(bench.folder / VIDEOS / f"{result.key}.npz")
    assert frames.shape == (13 + 12, 64, 64, 3) and frames.dtype == np.uint8 and switch == 13
    clips = [*cached_scorer.rendered(0), cached_scorer.generated(result, bench.folder / VIDEOS)]
    assert [(one.source, one.kind) for one in clips] == [
        ("rendered", "at once"),
        ("rendered", "never"),
        ("generated", "plain"),
    ]
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("0_*.npz")}
    assert len(files) == 2 and [*cached_scorer.rendered(0)] == clips[:2]
    assert {file: file.stat().st_mtime_ns for file in files} == files
    assert ClipMeasurements.load(next(iter(files))).switch == rendered.BEFORE
    with Image.open(agreement_pictures.save_plot(tmp_path / "plot.png", clips)) as picture:
        assert picture.width > 1000
