"""Metrics where there is little or nothing to go by: they answer, and say why there is no value."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from framepack_transitions.metrics import (
    Metric,
    Switch,
    disappearance_fidelity,
    ghosting,
    intentional_dynamics,
    stf,
    transition_latency,
    windows_of,
)
from framepack_transitions.metrics.definitions.disappearance import calibrate
from framepack_transitions.metrics.definitions.latency import first_held, settling
from framepack_transitions.metrics.measuring.clip import at_constant_rate, batches_of, shown_at
from hypothesis import given, settings
from hypothesis import strategies as st

FPS = 30


def all_metrics(
    features, confidence, flow, windows, fps=FPS, target=None, reference=None
) -> dict[str, Metric]:
    """Every metric on made-up features [T,D] and curves; new and old state are the first two axes."""
    axes = np.eye(features.shape[1])
    fidelity = stf(features, axes[0], axes[1], windows, logit_scale=10.0, reference=reference)
    change = np.abs(np.diff(features, axis=0)).mean(1) if len(features) > 1 else np.zeros(0)
    free = np.linspace(0, 0.2, 20)
    return {
        "stf": fidelity,
        "tl": transition_latency(
            features, windows, fps=fps, target=target, fidelity=fidelity.value, change=change
        ),
        "gas": ghosting(features, windows, reference=reference),
        "df": disappearance_fidelity(confidence, windows, fps=fps, object_free=free),
        "ddi": intentional_dynamics(flow, fidelity.curve, windows, change=change),
    }


def random_video(seed: int, frames: int, broken: float = 0, dimensions: int = 6, wild: float = 1):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(frames, dimensions)) * wild + rng.normal(size=dimensions)
    features[rng.random(frames) < broken] = np.nan
    confidence, flow = rng.random(frames), rng.random(max(frames - 1, 0)) * 3
    confidence[rng.random(frames) < broken] = np.nan
    return features, confidence, flow


def check(metrics: dict[str, Metric], frames: int, stretch: int) -> None:
    for key, metric in metrics.items():
        assert metric.valid == bool(np.isfinite(metric.value)), key
        assert metric.valid or metric.reason, key
        assert metric.curve is None or len(metric.curve) == frames, key
        json.dumps(metric.to_json(), allow_nan=False)
    for key in ("gas", "df"):
        assert not metrics[key].valid or 0 <= metrics[key].value <= 1
    assert not metrics["tl"].valid or 0 <= metrics["tl"].value <= stretch
    assert not metrics["stf"].valid or abs(metrics["stf"].value) <= 10
    assert not metrics["df"].valid or metrics["df"].details["recall"] >= 0.8


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    frames=st.integers(1, 120),
    places=st.lists(st.integers(0, 130), min_size=1, max_size=3, unique=True),
    fps=st.sampled_from([1, 7.5, 15, 23.976, 30, 60]),
    broken=st.sampled_from([0, 0.1, 0.9, 1]),
    wild=st.sampled_from([0, 1e-6, 1, 1e6]),
    with_others=st.booleans(),
)
def test_random_videos_get_a_number_or_a_reason(seed, frames, places, fps, broken, wild, with_others):
    features, confidence, flow = random_video(seed, frames, broken, wild=wild)
    others = {}
    if with_others:
        others = {
            "target": random_video(seed + 1, 5, broken)[0],
            "reference": random_video(seed + 2, 20, broken)[0],
        }
    switches = [
        Switch(frame=frame, requested=frame / fps, old=f"{frame}", new=f"{frame + 1}")
        for frame in sorted(places)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for switch in switches:
            windows = windows_of(switch, switches, frames, fps)
            check(all_metrics(features, confidence, flow, windows, fps, **others), frames, windows.stretch)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_transition(seed):
    """Two windows of the same noise differ by chance; that must not pass for a change that has a latency."""
    features, _, _ = random_video(seed, 90, dimensions=64)
    windows = windows_of(Switch(frame=45, requested=1.5, old="a", new="b"), [], 90, FPS)
    metric = transition_latency(features, windows, fps=FPS)
    assert not metric.valid and "3 standard deviations" in metric.reason


@pytest.mark.parametrize(
    ("frames", "frame", "reason"),
    [
        (1, 0, "no frame precedes"),
        (90, 0, "no frame precedes"),
        (90, 89, "only 1 frames follow"),
        (90, 80, "only 10 frames follow"),
        (90, 90, "behind the last frame"),
        (90, 400, "behind the last frame"),
        (1, 1, "behind the last frame"),
    ],
)
def test_where_nothing_can_be_compared_every_metric_says_so(frames, frame, reason):
    features, confidence, flow = random_video(0, frames)
    windows = windows_of(Switch(frame=frame, requested=frame / FPS, old="a", new="b"), [], frames, FPS)
    for metric in all_metrics(features, confidence, flow, windows, reference=features).values():
        assert np.isnan(metric.value) and not metric.valid and reason in metric.reason


def test_switches_that_crowd_one_another_censor_what_is_known_to_come():
    old, new = np.zeros(8), np.ones(8)
    switches = [
        Switch(frame=30, requested=1.0, old="a", new="b"),
        Switch(frame=40, requested=1.3, old="b", new="c"),
    ]
    windows = windows_of(switches[0], switches, 90, FPS)
    features = np.where(np.arange(90)[:, None] < 30, old, new)
    metric = transition_latency(features, windows, fps=FPS, target=new[None])
    assert metric.valid and metric.censored and metric.value == 10
    assert "half a second" in transition_latency(features, windows, fps=FPS).reason


def test_a_change_that_did_not_follow_the_prompt_has_no_latency():
    features = np.where(np.arange(90)[:, None] < 30, np.zeros(8), np.ones(8))
    windows = windows_of(Switch(frame=30, requested=1.0, old="a", new="b"), [], 90, FPS)
    assert not transition_latency(features, windows, fps=FPS).valid
    followed, ignored = (transition_latency(features, windows, fps=FPS, fidelity=f) for f in (0.9, 0.2))
    assert followed.value == 0 and not followed.censored
    assert ignored.censored and ignored.value == 60 and "not followed" in ignored.reason


def test_a_broken_frame_hides_nothing():
    features = np.where(np.arange(90)[:, None] < 35, np.zeros(8), np.ones(8))
    features[[10, 33, 40, 41, 80]] = np.nan
    windows = windows_of(Switch(frame=30, requested=1.0, old="a", new="b"), [], 90, FPS)
    assert transition_latency(features, windows, fps=FPS, fidelity=1.0).value == 5


class TestHeld:
    def test_nine_tenths_of_the_next_frames_are_enough(self):
        reached = np.ones(30, bool)
        reached[5] = False
        assert first_held(reached, 10) == 0
        reached[6] = False
        assert first_held(reached, 10) == 6 + 1

    def test_it_begins_where_it_is_reached(self):
        assert first_held([False, True] + [True] * 9, 10) == 1

    def test_what_comes_too_late_to_last_is_not_held(self):
        assert first_held([False] * 20 + [True] * 9, 10) is None

    def test_unknown_frames_do_not_count_but_half_must_be_known(self):
        known = np.array([True, False] * 10)
        assert first_held(np.ones(20, bool), 10, known) == 0
        known[:9] = [True] + [False] * 8
        assert first_held(np.ones(20, bool), 10, known) == 10


class TestFoundingLatency:
    windows = windows_of(Switch(frame=30, requested=1.0, old="a", new="b"), [], 120, FPS)

    def frames(self, before, first: float, rest: float) -> float:
        change = np.full(119, rest)
        change[:30], change[30] = before, first
        return settling(change, self.windows)

    def test_after_a_still_video_a_twentieth_of_the_jump_is_calm(self):
        assert self.frames(0, 1.0, 0.04) == 1
        assert np.isnan(self.frames(0, 1.0, 0.06))

    def test_what_was_usual_before_is_calm_after(self):
        """Changes of 0.1 and 0.3 in turn: 0.2 and three times 0.1 are usual."""
        assert self.frames(np.tile([0.1, 0.3], 15), 1.0, 0.45) == 1


def test_one_broken_frame_does_not_hide_what_lingers_in_the_others():
    windows = windows_of(Switch(frame=30, requested=1.0, old="a", new="b"), [], 120, FPS)
    old, new = np.eye(3)[0], np.eye(3)[1]
    features = np.stack([old] * 30 + [0.6 * old + 0.8 * new] * 90)
    features[50] = np.nan
    metric = ghosting(features, windows, reference=np.stack([new] * 90))
    assert metric.valid and metric.value == pytest.approx(0.6)


class TestDisappearance:
    windows = windows_of(Switch(frame=30, requested=1.0, old="a", new="b"), [], 120, FPS)

    def df(self, after, before=0.9, **options):
        confidence = np.full(120, before)
        confidence[30:] = after
        return disappearance_fidelity(confidence, self.windows, fps=FPS, **options)

    def test_the_threshold_comes_from_frames_without_the_object(self):
        free = np.linspace(0, 0.4, 101)
        limit = calibrate(free)
        assert limit.confidence == pytest.approx(np.sort(free)[95]) and limit.fpr == pytest.approx(5 / 101)
        assert self.df(0.3, object_free=free).value == 1
        assert self.df(0.5, object_free=free).value == 0

    def test_a_detector_that_is_sure_of_empty_frames_still_needs_a_twentieth(self):
        assert calibrate(np.zeros(50)).confidence == 0.05

    @pytest.mark.parametrize(
        ("after", "value"), [(0.05, 1), (0.1, 1), (0.3, 0.75), (0.5, 0.5), (0.9, 0), (1.0, 0)]
    )
    def test_a_detector_that_says_how_much_is_seen_is_believed(self, after, value):
        """From the floor of 0.1 to the usual 0.9 a frame counts for as much as is seen in it."""
        metric = self.df(after, floor=0.1)
        assert metric.valid and not metric.reason and metric.value == pytest.approx(value)

    def test_false_alarms_and_misses_are_allowed_for(self):
        confidence = np.r_[np.tile([1.0] * 9 + [0], 3), np.full(60, 0.0), np.tile([1.0, 0, 0, 0, 0], 6)]
        windows = windows_of(Switch(frame=30, requested=1.0, old="a", new="b"), [], 120, FPS)
        free = np.r_[np.ones(10), np.zeros(90)]
        metric = disappearance_fidelity(confidence, windows, fps=FPS, object_free=free, threshold=0.5)
        recall = confidence[15:30].mean()
        assert metric.value == pytest.approx(1 - (0.2 - 0.1) / (recall - 0.1))

    def test_a_detector_that_missed_the_object_before_proves_nothing(self):
        metric = self.df(0.0, before=0.3, object_free=np.full(50, 0.4))
        assert np.isnan(metric.value) and "0% of the frames before" in metric.reason
        assert metric.founding == 1

    def test_a_detector_that_sees_it_everywhere_proves_nothing(self):
        metric = self.df(0.9, threshold=0.1, object_free=np.full(50, 0.4))
        assert np.isnan(metric.value) and "without it" in metric.reason

    def test_without_calibration_it_says_so(self):
        metric = self.df(0.0)
        assert metric.valid and metric.value == 1 and "0.5 is not calibrated" in metric.reason

    def test_the_longest_return_is_told(self):
        confidence = np.zeros(90)
        confidence[:4] = confidence[20:23] = confidence[50:59] = 0.9
        metric = self.df(confidence)
        assert metric.details["first_absent"] == 4
        assert metric.details["reappearance"] == 9
        assert metric.details["reappearance_seconds"] == pytest.approx(0.3)


class TestFrames:
    def test_arrays_and_iterables_give_the_same_frames(self):
        video = np.random.default_rng(0).random((37, 4, 4, 3))
        for given_as in (video, iter([video[:20], video[20:]]), list(video)):
            assert np.array_equal(np.concatenate(list(batches_of(given_as))), video)

    @pytest.mark.parametrize("shape", [(4, 4, 3), (0, 4, 4, 3), (2, 4, 4, 4)])
    def test_what_is_no_video_is_refused(self, shape):
        with pytest.raises(ValueError, match=r"must be \[T, height, width, 3\]"):
            list(batches_of(np.zeros(shape)))

    def test_a_constant_rate_stays_as_it_is(self):
        assert shown_at(np.arange(50) / 24, 24).tolist() == [1] * 50
        rounded = np.round(np.arange(50) / 30, 3)
        assert shown_at(rounded, 30).tolist() == [1] * 50

    def test_a_slow_stretch_is_repeated_and_a_fast_one_thinned(self):
        times = np.r_[np.arange(10) / 10, 1 + np.arange(60) / 60]
        shown = shown_at(times, 30)
        assert shown[:10].tolist() == [3] * 10
        assert shown[10:].tolist() == [1, 0] * 30

    def test_frames_are_shown_as_a_player_does(self):
        video = np.arange(4.0).reshape(4, 1, 1, 1) * np.ones((1, 2, 2, 3))
        out = np.concatenate(list(at_constant_rate([video[:3], video[3:]], [0, 0.1, 0.4, 0.5], 10)))
        assert out[:, 0, 0, 0].tolist() == [0, 1, 1, 1, 2, 3]

    @pytest.mark.parametrize("times", [[0, 0.1], [0, 0.1, 0.2, 0.3, 0.4]])
    def test_every_frame_needs_its_time(self, times):
        with pytest.raises(ValueError, match="timestamps were given"):
            list(at_constant_rate([np.zeros((3, 2, 2, 3))], times, 10))

    @pytest.mark.parametrize("times", [[0, 0], [1, 0], [0, np.nan], [], [[0, 1]]])
    def test_times_rise(self, times):
        with pytest.raises(ValueError, match="rising"):
            shown_at(times, 30)


def test_features_of_two_extractors_are_not_compared():
    windows = windows_of(Switch(frame=15, requested=0.5, old="a", new="b"), [], 60, FPS)
    with pytest.raises(ValueError, match="7 and 6 dimensions"):
        ghosting(np.ones((60, 6)), windows, reference=np.ones((3, 7)))
