"""The judge of TransitionBench on videos whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from framepack_transitions.benchmarks.transition.episodes import CASES, SWITCHES, Episode, make_episode
from framepack_transitions.benchmarks.transition.measures import Measures, is_valid, latency, measure_episode
from framepack_transitions.tiny.detector import detect
from framepack_transitions.tiny.world import Mover, Scene, draw, render

SECTION, PAST = 36, 30


def path(scene, seed: int, frames: int) -> np.ndarray:
    """Places of a scene's subject, [T,2]; nan where there is none."""
    if scene.subject is None:
        return np.full((frames, 2), np.nan)
    return Mover.start(np.random.default_rng(seed), scene).travel(frames)


def video(episode: Episode, delay: int | None = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames before the switch and in two sections after it; the new scene comes `delay` frames late or never."""
    before, after, length = episode.before, episode.after, PAST + 2 * SECTION
    first = length if delay is None else PAST + delay
    old = path(before, seed, length)
    new = (
        old
        if before.subject and after.subject and episode.case != "motion"
        else path(after, seed + 1, length)
    )
    places = np.concatenate([old[:first], new[first:]])
    scenes = [(0, before)] if delay is None else [(0, before), (first, after)]
    frames = draw(scenes, places).astype(np.float32) / 255
    return frames[:PAST], frames[PAST:]


def measured(episode: Episode, past: np.ndarray, new: np.ndarray) -> Measures:
    return measure_episode(episode, detect(past), new, SECTION)


@pytest.mark.parametrize("case", SWITCHES)
def test_a_clean_switch_succeeds_at_once(case):
    episode = make_episode(case, 1)
    past, new = video(episode)
    measures = measured(episode, past, new)
    assert is_valid(detect(past), episode)
    assert measures.success and measures.held == (True, True)
    assert measures.latency <= 1 and measures.remaining == 0 and measures.artefacts == 0


@pytest.mark.parametrize("case", SWITCHES)
def test_a_switch_that_is_ignored_fails_and_keeps_the_old(case):
    episode = make_episode(case, 2)
    measures = measured(episode, *video(episode, delay=None))
    assert not measures.success and measures.held == (False, False)
    assert measures.latency is None and measures.remaining == 1 and measures.artefacts == 0


def test_a_subject_of_another_size_is_a_success_and_said_to_be_of_another_size():
    """Where a subject goes on, and where the words tell the size: "a large ..." against "a ..."."""
    episode = make_episode("colour", 1)
    size = {"small": "large", "large": "small"}[episode.after.subject.size]
    resized = replace(
        episode, after=replace(episode.after, subject=replace(episode.after.subject, size=size))
    )
    assert measured(episode, *video(episode)).size == 1
    grown = measured(episode, *video(resized))
    assert (grown.success, grown.size) == (True, 0)
    assert measured(episode, *video(episode, delay=None)).size is None
    cut = make_episode("cut", 1)
    told, untold = (
        replace(cut, prompts=("", f"a {word} star")) for word in (cut.after.subject.size, "pretty")
    )
    assert (measured(told, *video(cut)).size, measured(untold, *video(cut)).size) == (1, None)


@pytest.mark.parametrize("delay", [5, 20, 35])
def test_latency_is_the_delay_of_a_late_switch(delay):
    episode = make_episode("background", 0)
    measures = measured(episode, *video(episode, delay))
    assert measures.latency == delay
    assert measures.success == (delay < 30)


def test_latency_holds_to_the_end_of_a_video_that_is_shorter_than_half_a_second():
    late = np.arange(36) >= 28
    assert latency(late, 36) == 28
    assert latency(np.arange(36) >= 33, 36) is None
    late[-1] = False
    assert latency(late, 36) is None


def test_a_switch_after_the_first_section_has_no_latency_but_is_there_in_the_end():
    measures = measured(make_episode("colour", 0), *video(make_episode("colour", 0), 40))
    assert measures.latency is None and measures.held == (False, True)


@pytest.mark.parametrize("case", ["control", "sham"])
def test_without_a_change_success_is_to_keep_the_scene(case):
    episode = make_episode(case, 3)
    measures = measured(episode, *video(episode))
    assert measures.success and measures.latency is None and measures.remaining is None
    assert measures.jump < 1.5


def test_a_subject_that_jumps_is_measured_in_px():
    episode = make_episode("sham", 4)
    episode = replace(
        episode, before=replace(episode.before, motion="still"), after=replace(episode.after, motion="still")
    )
    places = np.concatenate([np.full((PAST, 2), 20.0), np.full((2 * SECTION, 2), [32.0, 25.0])])
    frames = draw([(0, episode.before)], places).astype(np.float32) / 255
    measures = measured(episode, frames[:PAST], frames[PAST:])
    assert measures.jump == pytest.approx(13, abs=0.5)
    assert measures.jump_before < 0.5 and measures.jump_after < 0.5


@pytest.mark.parametrize("what", ["noise", "black", "double exposure"])
def test_what_is_no_scene_of_the_world_is_an_artefact_and_no_success(what):
    episode = make_episode("disappear", 6)
    past, new = video(episode)
    shape = new.shape
    wrong = {
        "noise": np.random.default_rng(0).random(shape),
        "black": np.zeros(shape),
        "double exposure": 0.5 * new + 0.5 * render(Scene("city", True)) / 255,
    }[what].astype(np.float32)
    measures = measured(episode, past, wrong)
    assert measures.artefacts > 0.9 and not measures.success


def test_a_video_that_was_wrong_before_the_switch_is_not_valid():
    _past, new = video(make_episode("background", 0))
    assert not is_valid(detect(new[:PAST]), make_episode("background", 0))


class TestEpisodes:
    @pytest.mark.parametrize("case", CASES)
    def test_the_same_number_gives_the_same_episode(self, case):
        one, two, other = make_episode(case, 6), make_episode(case, 6), make_episode(case, 7)
        assert (
            (one.image == two.image).all() and one.prompts == two.prompts and one.noise_seed == two.noise_seed
        )
        assert one.noise_seed != other.noise_seed

    @pytest.mark.parametrize("seed", range(8))
    def test_every_case_changes_what_it_says(self, seed):
        made = {case: make_episode(case, seed) for case in CASES}
        assert made["disappear"].before.subject and not made["disappear"].after.subject
        assert made["appear"].after.subject and not made["appear"].before.subject
        assert made["motion"].after.motion in ("sideways", "vertical")
        assert replace(made["motion"].after, motion="still") == replace(made["motion"].before, motion="still")
        places = [
            (scene.background, scene.night) for scene in (made["background"].before, made["background"].after)
        ]
        assert (
            places[0] != places[1] and made["background"].before.subject == made["background"].after.subject
        )
        assert made["cut"].before.background != made["cut"].after.background
        for case in ("control", "sham"):
            assert made[case].before == made[case].after and made[case].before.subject
            assert made[case].prompts[0] == made[case].prompts[1]
        assert made["sham"].switches and not made["control"].switches

    def test_an_unknown_case_is_refused(self):
        with pytest.raises(ValueError, match="has no case 'dance'"):
            make_episode("dance", 0)
