"""Every metric on videos whose scores are known, at several sizes and frame rates."""

from __future__ import annotations

from math import ceil
from types import ModuleType

import numpy as np
import pytest
from framepack_transitions.metrics import (
    Switch,
    disappearance_fidelity,
    ghosting,
    intentional_dynamics,
    stf,
    transition_latency,
    windows_of,
)
from framepack_transitions.metrics.features import PixelExtractor

SIZES = [(64, 64), (48, 80), (90, 60)]
RATES = [15, 24, 30]
GREY = 0.5


class Case:
    """A video of 5 s that is asked to change after 2 s, with its features."""

    def __init__(self, videos: ModuleType, size: tuple[int, int], fps: int, seed: int) -> None:
        self.videos, self.size, self.fps, self.seed = videos, size, fps, seed
        self.frames, self.switch = 5 * fps, 2 * fps
        self.old, self.new, self.other = (videos.scene(size, 3 * seed + number) for number in range(3))
        self.windows = windows_of(
            Switch(frame=self.switch, requested=2.0, old="a", new="b"), [], self.frames, fps
        )
        self.truth = self.features(self.new[None])

    def features(self, frames):
        return PixelExtractor().images(frames) - GREY

    def video(self, kind: str, amount: float = 0):
        return self.videos.mixed(
            self.old, self.new, self.videos.shares(self.frames, self.switch, kind, amount)
        )

    def stf(self, video, **options):
        features, states = self.features(video), self.features(np.stack([self.new, self.old]))
        return stf(features, states[0], states[1], self.windows, **options)

    def latency(self, video, **options):
        options = {"fps": self.fps, "target": self.truth} | options
        return transition_latency(self.features(video), self.windows, **options)

    def ghosting(self, video):
        return ghosting(self.features(video), self.windows, reference=self.truth)

    def presence(self, video):
        """How far the old scene can be seen, as a detector would say it: 1 as before, 0 in the new scene."""
        old, new = self.features(np.stack([self.old, self.new]))
        return (self.features(video) - new) @ (old - new) / ((old - new) @ (old - new))

    def disappearance(self, video):
        return disappearance_fidelity(self.presence(video), self.windows, fps=self.fps, threshold=0.2)


@pytest.fixture(params=[(size, fps) for size in SIZES for fps in RATES], ids=str)
def case(request, metric_videos) -> Case:
    size, fps = request.param
    return Case(metric_videos, size, fps, seed=fps)


def test_a_hard_cut(case):
    video = case.video("cut")
    fidelity, latency, ghost, gone = (
        case.stf(video),
        case.latency(video),
        case.ghosting(video),
        case.disappearance(video),
    )
    assert fidelity.valid and fidelity.value == pytest.approx(1, abs=0.02)
    assert fidelity.founding == pytest.approx(1, abs=1e-5)
    assert latency.valid and not latency.censored and latency.value == 0
    assert ghost.valid and ghost.value <= 0.05
    assert gone.valid and gone.value == pytest.approx(1, abs=0.02)
    assert gone.founding == pytest.approx(1, abs=0.02)
    assert gone.details["reappearance"] == 0


def test_a_frozen_old_scene(case):
    video = case.video("frozen")
    fidelity, latency, ghost, gone = (
        case.stf(video),
        case.latency(video),
        case.ghosting(video),
        case.disappearance(video),
    )
    assert fidelity.value == pytest.approx(0, abs=0.05)
    assert fidelity.founding < 0.9
    assert latency.valid and latency.censored and latency.value == case.frames - case.switch
    assert latency.details["seconds"] == 3
    assert ghost.value == pytest.approx(1, abs=0.02) and ghost.founding == pytest.approx(1, abs=1e-5)
    assert gone.value == pytest.approx(0, abs=0.05) and gone.founding == pytest.approx(0, abs=0.02)
    assert np.isnan(gone.details["first_absent"])


def test_a_frozen_scene_of_which_nothing_more_is_known(case):
    video = case.video("frozen")
    latency = case.latency(video, target=None)
    ghost = ghosting(case.features(video), case.windows)
    for metric in (latency, ghost):
        assert np.isnan(metric.value) and not metric.valid and metric.reason
    assert ghost.founding == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0, 1.6])
@pytest.mark.parametrize("with_target", [True, False])
def test_a_cross_fade(case, seconds, with_target):
    length = round(seconds * case.fps)
    video = case.video("fade", length)
    assert case.stf(video).value == pytest.approx(1, abs=0.02)
    options = {} if with_target else {"target": None, "fidelity": case.stf(video).value}
    start, middle, end = (case.latency(video, theta=theta, **options) for theta in (0.1, 0.5, 0.9))
    assert end.valid and not end.censored
    for metric, theta in ((start, 0.1), (middle, 0.5), (end, 0.9)):
        assert abs(metric.value - ceil(theta * length)) <= 1
        assert metric.details["seconds"] == pytest.approx(metric.value / case.fps)
    ghost = case.ghosting(video).curve[case.switch :]
    assert (np.diff(ghost) <= 1e-6).all() and ghost[0] > ghost[-1]
    assert ghost[-1] <= 0.05


@pytest.mark.parametrize("delay", [0.1, 0.4, 1.0, 1.8])
@pytest.mark.parametrize("with_target", [True, False])
def test_a_late_cut(case, delay, with_target):
    frames = round(delay * case.fps)
    video = case.video("cut", frames)
    fidelity = case.stf(video)
    options = {} if with_target else {"target": None, "fidelity": fidelity.value}
    assert fidelity.value == pytest.approx(1, abs=0.02)
    latency = case.latency(video, **options)
    assert latency.valid and not latency.censored and latency.value == frames


def drifting(case, kind: str) -> np.ndarray:
    """The old scene throughout, with what a video may do by itself after a switch."""
    video = case.video("frozen")
    for frame in range(case.switch, case.frames):
        share = (frame - case.switch + 1) / (case.frames - case.switch)
        if kind == "pushes in by 5 %":
            rows, columns = (
                np.clip(
                    ((np.arange(side) - side / 2) / (1 + 0.05 * share) + side / 2).round().astype(int),
                    0,
                    side - 1,
                )
                for side in case.size
            )
            video[frame] = case.old[rows][:, columns]
        elif kind == "pans by 5 %":
            video[frame] = np.roll(case.old, round(0.05 * share * case.size[1]), axis=1)
        else:
            video[frame] = case.old * (1 - 0.05 * share)
    return video


@pytest.mark.parametrize("kind", ["frozen", "pushes in by 5 %", "pans by 5 %", "darkens by 5 %"])
def test_an_ignored_prompt_never_has_a_good_latency(case, kind):
    """Only STF, a target or a detector can say that the scene where a video ends is the new one."""
    video = case.video("frozen") if kind == "frozen" else drifting(case, kind)
    change = np.abs(np.diff(video, axis=0)).mean((1, 2, 3))
    for theta in (0.1, 0.9):
        blind = case.latency(video, target=None, theta=theta, change=change)
        assert not blind.valid and np.isnan(blind.value) and np.isnan(blind.founding)
        read = case.latency(video, target=None, fidelity=case.stf(video).value, theta=theta, change=change)
        assert read.valid and read.censored and read.value == case.frames - case.switch
        assert read.founding == read.value and "not followed" in read.reason
    shown = case.latency(video, change=change)
    assert shown.valid and shown.censored and shown.founding == case.frames - case.switch


def test_what_a_latency_would_be_is_told_apart_from_one(case):
    frames = round(0.4 * case.fps)
    metric = case.latency(case.video("cut", frames), target=None)
    assert not metric.valid and "nothing says" in metric.reason
    assert metric.details["unconfirmed"] == frames and metric.curve is not None


def test_ghosts_grow_with_their_opacity(case):
    opacities = np.linspace(0, 1, 11)
    videos = [case.video("ghost", opacity) for opacity in opacities]
    ghosts = [case.ghosting(video) for video in videos]
    values, foundings = ([getattr(ghost, name) for ghost in ghosts] for name in ("value", "founding"))
    assert (np.diff(values) >= -1e-6).all() and (np.diff(foundings) >= -1e-6).all()
    assert values[0] <= 0.05 and values[-1] == pytest.approx(1, abs=0.02)
    assert 0.1 < values[5] < 0.9
    gone = [case.disappearance(video) for video in videos]
    assert (np.diff([metric.value for metric in gone]) <= 1e-6).all()
    assert (np.diff([metric.founding for metric in gone]) < 0).all()


def test_flicker(case):
    video = case.video("flicker")
    latency, ghost, gone = case.latency(video), case.ghosting(video), case.disappearance(video)
    assert latency.valid and latency.censored
    assert ghost.value > 0.9
    assert gone.value < 0.65
    assert gone.details["reappearance"] == 6
    assert gone.details["reappearance_seconds"] == pytest.approx(6 / case.fps)
    assert gone.details["first_absent"] == 6
    assert not case.latency(video, target=None).valid


@pytest.mark.parametrize("delay", [0, 1, 7])
def test_a_moving_sprite_that_disappears(case, metric_videos, delay):
    gone = case.switch + delay
    video = metric_videos.sprite_video(case.old, case.frames, gone)
    confidence = metric_videos.sprite_confidence(video, case.old)
    metric = disappearance_fidelity(confidence, case.windows, fps=case.fps, object_free=np.zeros(30))
    assert metric.valid and metric.value == 1
    assert abs(metric.details["first_absent"] - delay) <= 2
    latency = transition_latency(confidence[:, None], case.windows, fps=case.fps, target=[[0.0]])
    assert abs(latency.value - delay) <= 2 and not latency.censored


def test_the_ghost_of_a_sprite_is_seen_on_its_box(case, metric_videos):
    height, width = case.size
    box = np.s_[:, height // 4 : 3 * height // 4, width // 6 : 5 * width // 6]
    empty = case.features(np.repeat(case.old[None], 20, 0)[box])

    def on_the_box(ghost: float):
        video = metric_videos.sprite_video(case.old, case.frames, case.switch, ghost=ghost)
        return ghosting(case.features(video[box]), case.windows, reference=empty)

    values = [on_the_box(ghost).value for ghost in (0, 0.25, 0.5, 0.75, 1)]
    assert values[0] <= 0.05 and values[-1] > 0.9
    assert (np.diff(values) > 0).all()


def test_a_reference_says_what_can_be_reached(case):
    """Half of the new scene is all that R shows either: then half is enough."""
    half = case.videos.mixed(case.old, case.new, np.full(20, 0.5))
    scale = 2.0
    video = case.video("ghost", 0.5)
    alone, fair = (
        case.stf(video, logit_scale=scale),
        case.stf(video, logit_scale=scale, reference=case.features(half)),
    )
    assert alone.value < 0.8
    assert fair.value == pytest.approx(1, abs=1e-6)


def test_there_is_nothing_to_gain_where_r_shows_no_more_than_before(case):
    metric = case.stf(case.video("cut"), reference=case.features(case.old[None]))
    assert np.isnan(metric.value) and not metric.valid and "nothing to gain" in metric.reason
    # What was measured is still told: the new scene is there, and the frame after the cut is the new prompt.
    assert metric.curve == pytest.approx((np.arange(case.frames) >= case.switch).astype(float), abs=1e-6)
    assert metric.founding == pytest.approx(1)


def test_distractors_take_what_is_neither_old_nor_new(case):
    video = case.videos.mixed(case.old, case.other, case.videos.shares(case.frames, case.switch, "cut"))
    drifted = case.stf(video, distractors=case.features(case.other[None]))
    assert drifted.value == pytest.approx(0, abs=0.05)


def test_a_gradual_change_is_told_how_far_it_is_from_the_time_it_should_take(case):
    video = case.video("fade", round(1.0 * case.fps))
    distances = [
        case.latency(video, interval=interval).details["interval_distance"]
        for interval in ((0.5, 1.5), (1.5, 2.0), (0.0, 0.5))
    ]
    assert distances == pytest.approx([0, 0.6, 0.4], abs=1.5 / case.fps)


def test_the_founding_latency_ends_when_frames_no_longer_differ(case):
    length = round(0.7 * case.fps)
    video = case.video("fade", length)
    change = np.abs(np.diff(video, axis=0)).mean((1, 2, 3))
    assert case.latency(video, change=change).founding == length - 1
    still = case.video("frozen")
    change = np.abs(np.diff(still, axis=0)).mean((1, 2, 3))
    ignored = case.latency(still, change=change)
    assert ignored.censored and ignored.founding == case.frames - case.switch


class TestDynamics:
    """Degrees of motion that are given; a video of 150 frames with a switch at 60."""

    windows = windows_of(Switch(frame=60, requested=2.0, old="a", new="b"), [], 150, 30.0)

    def ddi(self, degree, p, **options):
        flow = np.broadcast_to(np.asarray(degree, float), 149)
        return intentional_dynamics(flow, np.broadcast_to(np.asarray(p, float), 150), self.windows, **options)

    def test_a_frozen_video_scores_nothing(self):
        assert self.ddi(0, 1).value == 0 and self.ddi(0, 1).founding == 0

    @pytest.mark.parametrize(
        ("p", "degree", "reference", "value"),
        [
            (1, 0.6, 1.0, 0.6),
            (1, 1.4, 1.0, 1 - 0.4),
            (1, 0.6, 0.5, 0.5 - 0.1),
            (0, 0.6, 1.0, -0.6),
            (0.75, 0.8, 0.6, 0.75 * 0.6 - (0.25 * 0.8 + 0.75 * 0.2)),
        ],
    )
    def test_motion_counts_as_far_as_it_is_asked_for(self, p, degree, reference, value):
        metric = self.ddi(degree, p, reference=np.full(10, reference))
        assert metric.valid and metric.value == pytest.approx(value)
        assert metric.founding == pytest.approx(degree if p >= 0.5 else -degree)

    def test_the_penalty_weighs_what_is_not_asked_for(self):
        assert self.ddi(0.6, 0, penalty=0.5).value == pytest.approx(-0.3)

    @pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5])
    def test_the_founding_form_has_two_means(self, penalty):
        """Two of six half seconds follow the prompt and move by 0.9; the others move by 0.3."""
        p = np.where((np.arange(150) >= 60) & (np.arange(150) < 90), 0.8, 0.2)
        metric = self.ddi(np.where(p[:-1] > 0.5, 0.9, 0.3), p, penalty=penalty)
        assert metric.founding == pytest.approx(0.9 - penalty * 0.3)

    def test_what_moves_at_a_cut_is_left_out(self):
        flow, change = np.full(149, 0.4), np.full(149, 0.01)
        for cut in (59, 80, 120):
            change[cut], flow[cut - 1 : cut + 2] = 0.5, 9.0
        assert self.ddi(flow, 1, change=change).value == pytest.approx(0.4)
        assert self.ddi(flow, 1).value != pytest.approx(0.4, abs=0.05)

    def test_so_is_what_was_measured_in_one_with_it(self):
        flow, change = np.full(149, 0.4), np.full(149, 0.01)
        change[82], flow[80:84] = 0.5, 9.0
        assert self.ddi(flow, 1, change=change, stride=4).value == pytest.approx(0.4)
        assert self.ddi(flow, 1, change=change).value != pytest.approx(0.4, abs=0.05)

    def test_a_fade_is_no_cut(self):
        change = np.full(149, 0.001)
        change[60:90] = 0.05
        assert self.ddi(np.where(change > 0.01, 0.8, 0.2), 1, change=change).value == pytest.approx(
            np.mean([0.8, 0.8, 0.2, 0.2, 0.2, 0.2])
        )
