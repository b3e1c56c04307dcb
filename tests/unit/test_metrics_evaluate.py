"""Whole videos from frames to scores: what goes in by which door, what the guards catch, what is written."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from framepack_transitions.metrics import SCORES_SCHEMA, Cue, evaluate_video, measure_clip, score, switches_of
from framepack_transitions.metrics.features import PixelExtractor
from framepack_transitions.metrics.scoring.registry import BY_KEY

FPS = 15
FRAMES, SWITCH = 75, 30
CUES = [Cue(start=0, prompt="old"), Cue(start=2, prompt="new")]
SIZE = (48, 64)


class World:
    """Two scenes and a reader that knows them by name, and a detector for a sprite in front of the old one."""

    def __init__(self, videos) -> None:
        self.videos = videos
        self.old, self.new, self.other = (videos.scene(SIZE, seed) for seed in range(3))
        pictures = {"old": self.old, "new": self.new, "other": self.other, "do it": self.new}
        self.reader = videos.SceneReader(pictures)
        self.detector = SimpleNamespace(name="sprite", detect=self.detect)

    def video(self, kind: str, amount: float = 0, new=None):
        new = self.new if new is None else new
        return self.videos.mixed(self.old, new, self.videos.shares(FRAMES, SWITCH, kind, amount))

    def sprite(self, gone: int = SWITCH, **options):
        return self.videos.sprite_video(self.old, FRAMES, gone, **options)

    def detect(self, frames, concepts):
        found = self.videos.sprite_confidence(np.asarray(frames), self.old)
        confidence = np.repeat(found[:, None], len(concepts), 1)
        return SimpleNamespace(confidence=confidence, boxes=np.full((*confidence.shape, 4), np.nan))

    def scores(self, video, cues=CUES, **options):
        options = {"fps": FPS, "extractor": self.reader, "flow": "off"} | options
        return evaluate_video(video, cues, **options)

    def metrics(self, video, **options):
        return self.scores(video, **options).switches[0].metrics


@pytest.fixture(scope="module")
def world(metric_videos) -> World:
    return World(metric_videos)


@pytest.fixture(scope="module")
def still(world):
    """Twenty frames of the new scene alone."""
    return np.repeat(world.new[None], 20, 0)


def guard(scores, name, switch=0):
    return next(entry for entry in scores.switches[switch].guards if entry.name == name)


def test_texts_say_whether_a_cut_followed_the_prompt(world, still):
    metrics = world.metrics(world.video("cut"), reference=still)
    assert set(metrics) == set(BY_KEY)
    assert metrics["stf"].valid and metrics["stf"].value == pytest.approx(1, abs=0.02)
    assert metrics["tl90"].value == 0 and metrics["tl90"].details["duration"] == 0
    assert metrics["gas"].value <= 0.05
    ignored = world.metrics(world.video("frozen"), reference=still, target=still)
    assert ignored["stf"].value == pytest.approx(0, abs=0.05)
    assert ignored["tl90"].censored and ignored["tl90"].value == FRAMES - SWITCH
    assert ignored["gas"].value == pytest.approx(1, abs=0.02)


def test_a_softmax_by_hand(world):
    """STF of a half transparent new scene, from cosines worked out in plain numpy."""
    world.reader.logit_scale, scale = 3.0, 3.0
    video = world.video("ghost", 0.4)
    metric = world.metrics(video)["stf"]
    world.reader.logit_scale = 100.0

    def cosine(a, b):
        return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())

    f = world.reader.images(video)
    new, old = world.reader.texts(["new", "old"])
    p = [1 / (1 + np.exp(scale * (cosine(x, old) - cosine(x, new)))) for x in f]
    before, settled = np.mean(p[SWITCH - 10 : SWITCH]), np.mean(p[60:])
    assert metric.value == pytest.approx((settled - before) / (1 - before))
    assert metric.curve == pytest.approx(np.array(p))
    assert metric.founding == pytest.approx(cosine(f[SWITCH + 5], new))
    assert metric.details["margin"] == pytest.approx(
        np.mean([cosine(x, new) - cosine(x, old) for x in f[60:]])
    )


def test_pixels_need_a_picture_of_the_new_scene(world, still):
    pixels = {"extractor": PixelExtractor()}
    blind = world.metrics(world.video("cut"), **pixels)
    assert np.isnan(blind["stf"].value) and "read no text" in blind["stf"].reason
    assert np.isnan(blind["ddi"].value) and blind["ddi"].reason
    assert not blind["tl90"].valid and "nothing says" in blind["tl90"].reason
    shown = world.metrics(world.video("cut"), target=still, **pixels)
    assert shown["stf"].value == pytest.approx(1, abs=0.02)
    frozen = world.metrics(world.video("frozen"), target=still, **pixels)
    assert frozen["stf"].value == pytest.approx(0, abs=0.05) and frozen["tl90"].censored


def test_an_instruction_is_scored_by_what_is_seen_then(world):
    cues = [Cue(start=0, prompt="old"), Cue(start=2, prompt="do it", state="new")]
    entry = world.scores(world.video("cut"), cues).switches[0]
    assert (entry.switch.new, entry.switch.prompt) == ("new", "do it")
    assert entry.metrics["stf"].value == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("bad", ["black", "white", "noise"])
def test_what_is_no_picture_wins_nothing(world, bad):
    picture = {"black": 0.0, "white": 1.0, "noise": np.random.default_rng(0).random((*SIZE, 3))}[bad]
    video = world.sprite()
    video[SWITCH:] = picture
    scores = world.scores(video, detector=Always(0), vanishing=["sprite"], object_free={"sprite": [0.0]})
    name = "noise" if bad == "noise" else "blank"
    gone = scores.switches[0].metrics["df"]
    assert not guard(scores, name).ok
    assert not gone.valid and f"guard {name}" in gone.reason
    assert gone.value == 1, "the number is shown with the failure"
    assert not [m for m in scores.switches[0].metrics.values() if m.valid]
    assert np.isnan(scores.summary["df"])


class Always:
    """A detector that sees the object before the switch, and `after` of it afterwards."""

    name = "always"

    def __init__(self, after: float) -> None:
        self.after, self.seen = after, 0

    def detect(self, frames, concepts):
        numbers = self.seen + np.arange(len(frames))
        self.seen += len(frames)
        confidence = np.where(numbers < SWITCH, 1.0, self.after)[:, None] * np.ones(len(concepts))
        return SimpleNamespace(confidence=confidence, boxes=np.full((*confidence.shape, 4), np.nan))


def test_black_is_right_when_the_reference_is_black(world):
    video = world.video("cut", new=np.zeros((*SIZE, 3), np.float32))
    assert not guard(world.scores(video), "blank").ok
    dark = np.zeros((20, *SIZE, 3), np.float32)
    assert guard(world.scores(video, reference=dark), "blank").ok


def test_good_videos_pass_the_guards(world, still):
    for video in (world.video("cut"), world.video("fade", 20), world.sprite()):
        assert all(entry.ok for entry in world.scores(video).switches[0].guards)
    assert all(entry.ok for entry in world.scores(world.video("cut"), reference=still).switches[0].guards)


def test_a_standstill_is_caught_when_the_reference_moves(world):
    moving = np.stack([np.roll(world.new, shift, 1) for shift in range(30)])
    scores = world.scores(world.video("cut"), reference=moving)
    assert not guard(scores, "frozen").ok and "guard frozen" in scores.switches[0].metrics["stf"].reason


def test_drift_is_judged_against_the_old_scene_and_the_reference(world, still):
    grey = world.new.mean(-1, keepdims=True) * np.ones(3, np.float32)
    speckled = world.new + 0.1 * (np.indices(SIZE).sum(0) % 2)[..., None].astype(np.float32)
    for name, drifted in (("saturation", grey), ("sharpness", speckled)):
        video = world.video("cut", new=drifted)
        assert not guard(world.scores(video, reference=still), name).ok
        assert "without a reference" in guard(world.scores(video), name).reason
        assert guard(world.scores(video, reference=np.repeat(drifted[None], 9, 0)), name).ok


def test_to_stay_as_it_was_is_no_drift(world):
    grey = world.new.mean(-1, keepdims=True) * np.ones(3, np.float32)
    scores = world.scores(world.video("frozen"), reference=np.repeat(grey[None], 9, 0))
    assert guard(scores, "saturation").ok and guard(scores, "sharpness").ok
    assert scores.switches[0].metrics["stf"].valid


def test_a_reference_of_another_size_is_as_good_but_for_sharpness(world, metric_videos):
    large = np.repeat(np.repeat(world.new, 2, 0), 2, 1)[None].repeat(20, 0)
    scores = world.scores(world.video("cut"), reference=large)
    assert scores.switches[0].metrics["gas"].value <= 0.05
    assert "another size" in guard(scores, "sharpness").reason


def test_broken_frames_are_told(world):
    video = world.video("cut").copy()
    video[[5, 40, 41]] = np.nan
    scores = world.scores(video)
    assert not guard(scores, "finite").ok and "2 frames" in guard(scores, "finite").reason
    assert scores.switches[0].metrics["stf"].value == pytest.approx(1, abs=0.02)
    json.dumps(scores.to_json(), allow_nan=False)


@pytest.mark.parametrize("cues", [[], [Cue(start=0, prompt="old")]])
def test_without_a_switch_there_are_guards_and_curves_but_no_scores(world, cues):
    scores = world.scores(world.video("frozen"), cues)
    assert scores.switches == () and scores.summary == {}
    assert {entry.name for entry in scores.guards} >= {"finite", "blank", "noise"}
    assert len(scores.measurements.brightness) == FRAMES


def test_one_frame_is_a_video(world):
    scores = world.scores(world.old[None])
    assert scores.frames == 1 and len(scores.switches) == 1
    assert not [metric for metric in scores.switches[0].metrics.values() if metric.valid]
    json.dumps(scores.to_json(), allow_nan=False)


def test_the_same_prompt_again_is_not_scored(world):
    cues = [*CUES, Cue(start=3, prompt="new"), Cue(start=4, prompt="other")]
    scores = world.scores(world.video("cut"), cues)
    reasons = {metric.reason for metric in scores.switches[1].metrics.values()}
    assert reasons == {"the prompt does not change here"}
    assert scores.switches[0].metrics["stf"].valid, "and it bounds no stretch"


def test_what_vanishes_is_timed_by_its_detector(world):
    video = world.sprite(SWITCH + 3)
    scores = world.scores(
        video, detector=world.detector, vanishing=["sprite"], object_free=np.repeat(world.old[None], 9, 0)
    )
    metrics = scores.switches[0].metrics
    assert metrics["df"].valid and metrics["df"].value == 1
    assert abs(metrics["tl90"].value - 3) <= 1 and "detections of 'sprite'" in metrics["tl90"].reason
    stays = world.scores(world.sprite(FRAMES), detector=world.detector, vanishing={0: ["sprite"]})
    assert stays.switches[0].metrics["df"].value == 0 and stays.switches[0].metrics["tl90"].censored
    assert world.metrics(video, detector=world.detector, vanishing={7: ["sprite"]})["df"].reason


def test_shadow_and_reflection_are_told_beside_the_thing(world):
    metric = world.metrics(world.sprite(), detector=world.detector, vanishing=["sprite", "its shadow"])["df"]
    assert metric.details["df its shadow"] == 1


def test_what_should_stay_is_guarded(world):
    gone, stays = (
        guard(world.scores(world.sprite(end), detector=world.detector, kept=["sprite"]), "sprite")
        for end in (SWITCH, FRAMES)
    )
    assert not gone.ok and stays.ok


def test_the_ghost_is_sought_in_the_box_and_the_rest_should_stay(world):
    box = (0.25, 0.25, 0.75, 0.75)
    empty = np.repeat(world.old[None], 20, 0)
    values = [
        world.metrics(world.sprite(ghost=ghost), box=box, reference=empty)["gas"].value
        for ghost in (0, 0.4, 0.8)
    ]
    assert values[0] <= 0.05 and values[0] < values[1] < values[2]
    control = world.sprite(FRAMES)
    changed = world.sprite()
    changed[SWITCH:] = world.new
    for video, ok in ((world.sprite(), True), (changed, False)):
        scores = world.scores(video, box=box, control=control)
        assert guard(scores, "outside of the box").ok == ok


def test_the_box_may_be_the_one_that_was_detected(world):
    empty = np.repeat(world.old[None], 20, 0)
    known = {"detector": Boxes(), "vanishing": ["sprite"], "reference": empty}
    video = world.sprite(ghost=0.5)
    found, told, without = (
        world.metrics(video, box=box, **known)["gas"].value for box in ("detected", Boxes.box, None)
    )
    assert found == pytest.approx(told) and found != pytest.approx(without)
    with pytest.raises(ValueError, match="read twice"):
        world.scores(iter([video]), box="detected", **known)


class Boxes:
    """A detector that always sees the object at one place."""

    name = "boxes"
    box = (0.25, 0.25, 0.75, 0.75)

    def detect(self, frames, concepts):
        confidence = np.ones((len(frames), len(concepts)))
        return SimpleNamespace(confidence=confidence, boxes=np.broadcast_to(self.box, (*confidence.shape, 4)))


def test_frames_may_come_in_batches_and_in_uneven_time(world):
    video = world.video("cut")
    whole = world.metrics(video)["stf"].curve
    assert world.metrics(iter([video[:7], video[7:]]))["stf"].curve == pytest.approx(whole)
    # Every other frame of the second half is missing, and its time with it.
    keep = np.r_[np.arange(40), np.arange(40, FRAMES, 2)]
    scores = world.scores(video[keep], timestamps=keep / FPS)
    assert abs(scores.frames - FRAMES) <= 1 and scores.switches[0].metrics["tl90"].value == 0


def test_each_switch_has_a_reference_of_its_own(world, still):
    cues = [*CUES, Cue(start=3.5, prompt="other")]
    video = world.video("cut")
    video[52:] = world.other
    others = [still, np.repeat(world.other[None], 20, 0)]
    scores = world.scores(video, cues, reference=others)
    assert [entry.metrics["gas"].value <= 0.05 for entry in scores.switches] == [True, True]
    assert scores.summary["stf"] == pytest.approx(1, abs=0.02)
    assert scores.summary["tl90_reached"] == 1
    with pytest.raises(ValueError, match="1 clips were given for 2 switches"):
        world.scores(video, cues, reference=others[:1])


def test_a_switch_that_was_ignored_counts_in_the_averages(world):
    """The first of two switches is followed at once and the second one not at all."""
    cues = [*CUES, Cue(start=3.5, prompt="other")]
    summary = world.scores(world.video("cut"), cues).summary
    assert summary["tl90_reached"] == 0.5 and summary["tl90_unknown"] == 0
    assert summary["tl90_restricted_mean"] == pytest.approx((0 + 23) / 2, abs=1)
    assert summary["stf"] == pytest.approx(0.5, abs=0.02)


def test_clips_of_different_extractors_are_refused(world, still):
    other = measure_clip(still, PixelExtractor(), fps=FPS, flow="off")
    with pytest.raises(ValueError, match="use one extractor"):
        world.scores(world.video("cut"), reference=other)


def test_only_motion_of_what_was_asked_for_counts(world):
    """The camera pans over a scene after the switch: over the new one, over the old one, or not at all."""
    rolls = np.maximum(np.arange(FRAMES) - SWITCH, 0) * 2

    def pan(picture):
        return np.stack([np.roll(picture, int(roll), 1) for roll in rolls])

    def ddi(video, **options):
        return world.metrics(video, flow="auto", **options)["ddi"]

    reference = pan(world.new)[SWITCH:]
    asked = np.concatenate([world.old[None].repeat(SWITCH, 0), reference])
    moved = ddi(asked, reference=reference)
    assert moved.value > 0.5
    # The founding form weighs the pieces that follow the prompt like those that do not, however few they are.
    assert moved.founding == pytest.approx(0, abs=0.1)
    assert moved.value > ddi(asked).value, "more motion than usual is too much, unless the reference has it"
    assert ddi(world.video("cut"), reference=reference).value == pytest.approx(0, abs=0.02)
    assert ddi(pan(world.old), reference=reference).value < 0


def test_measured_clips_can_be_scored_again(world):
    clip = measure_clip(world.video("cut"), world.reader, fps=FPS, flow="off")
    switches = switches_of(CUES, fps=FPS)
    again = score(clip, switches, extractor=world.reader, name="take 2")
    assert again.name == "take 2"
    assert again.switches[0].metrics["stf"].value == pytest.approx(
        world.metrics(world.video("cut"))["stf"].value
    )
    with pytest.raises(ValueError, match=r"\['dog'\] were not detected"):
        score(clip, switches, extractor=world.reader, vanishing=["dog"])


def test_a_trace_places_the_switch(world):
    memory = {"mass": 0.5, "context_tokens": 100, "rest_tokens": 100}
    sections = [
        {"index": 0, "frames": [0, SWITCH], "prompt": "old", "memory": memory},
        {"index": 1, "frames": [SWITCH, FRAMES], "prompt": "new", "memory": memory},
    ]
    entry = world.scores(world.video("cut"), [], trace={"sections": sections}).switches[0]
    assert entry.switch.frame == SWITCH and entry.metrics["inertia"].value == pytest.approx(0)


def test_scores_are_written_as_plain_data(world):
    data = json.loads(json.dumps(world.scores(world.video("cut")).to_json(), allow_nan=False))
    assert data["schema"] == SCORES_SCHEMA
    assert (data["frames"], data["fps"], data["size"], data["features"]) == (
        FRAMES,
        FPS,
        list(SIZE),
        "scenes",
    )
    entry = data["switches"][0]
    assert (entry["frame"], entry["seconds"], entry["old"], entry["new"]) == (SWITCH, 2.0, "old", "new")
    assert set(entry["metrics"]) == set(BY_KEY)
    for metric in entry["metrics"].values():
        assert set(metric) == {"value", "founding", "valid", "reason", "censored", "details"}
    assert entry["metrics"]["inertia"]["value"] is None
