"""What becomes of an episode: videos whose truth is known, judged; and what many of them amount to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from framepack_transitions.benchmarks.statistics import paired_interval
from framepack_transitions.benchmarks.suites.episodes import PromptedState, SuiteEpisode
from framepack_transitions.benchmarks.suites.results import (
    EpisodeResult,
    measure_video,
    section_end,
    switch_frame,
)
from framepack_transitions.benchmarks.suites.summary import differences, pairs_of, rows, save_sheet, table
from framepack_transitions.metrics.measuring.detectors import CallableDetector
from framepack_transitions.nodes.evaluation.models import EvaluationModels
from PIL import Image

SWITCH, FRAMES = 60, 150
COLOURS = {"a red room": (0.8, 0.1, 0.1), "a blue room": (0.1, 0.1, 0.8)}
CHANGE = SuiteEpisode(
    id="turns-blue",
    case="colour",
    image="",
    old=PromptedState("Nothing moves.", "a red room"),
    new=PromptedState("It turns blue.", "a blue room"),
    lost="",
    concept="",
    seconds=5.0,
    switch=2.0,
)
SHAM = replace(CHANGE, id="stays-red", case="sham", new=None, lost="a blue room")


class Colours:
    """Looks at the mean colour; a text is the colour that it names."""

    name, logit_scale, resolution = "colours", 100.0, None

    def images(self, frames: Any) -> np.ndarray:
        frames = np.asarray(frames)
        frames = frames / 255 if frames.dtype == np.uint8 else frames
        return frames.mean((1, 2)).astype(np.float32)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([COLOURS.get(text, (0.3, 0.3, 0.3)) for text in texts], np.float32)


def reds(frames: np.ndarray, concepts: Sequence[str]) -> np.ndarray:
    """A detector of red things: 1 where red is the strongest channel."""
    mean = frames.mean((1, 2))
    return np.repeat((mean.argmax(1) == 0).astype(float)[:, None], len(concepts), 1)


def room(*stretches: tuple[tuple[float, float, float], int]) -> np.ndarray:
    """Frames of one colour after another with a little noise, uint8 [T,16,16,3]."""
    noise = np.random.default_rng(0)
    parts = [
        np.clip(np.array(colour) + noise.normal(0, 0.01, (count, 16, 16, 3)), 0, 1)
        for colour, count in stretches
    ]
    return np.round(np.concatenate(parts) * 255).astype(np.uint8)


RED, BLUE = COLOURS.values()
NEVER = room((RED, FRAMES))
AT_ONCE = room((RED, SWITCH), (BLUE, FRAMES - SWITCH))
LATE = room((RED, SWITCH + 30), (BLUE, FRAMES - SWITCH - 30))


def result(video: np.ndarray, episode: SuiteEpisode = CHANGE, **changes: Any) -> EpisodeResult:
    detector = CallableDetector(reds) if episode.concept else None
    options = {"fps": 30.0, "window": 0, "trace": None, "wall_seconds": 7.0, "seed": 1, "arm": "plain"}
    return measure_video(
        episode,
        [video],
        EvaluationModels(extractor=Colours(), detector=detector, concept=episode.concept),
        **{**options, **changes},
    )


def test_a_change_at_once_is_a_success_without_a_wait() -> None:
    found = result(AT_ONCE)
    assert (found.valid, found.success, found.reached, found.frames) == (True, True, True, 0)
    assert found.stf == pytest.approx(1, abs=0.01)
    assert found.remaining == pytest.approx(0, abs=0.01)


def test_a_late_change_is_waited_for() -> None:
    found = result(LATE)
    assert (found.success, found.reached, found.frames) == (True, True, 30)


def test_a_change_that_never_comes_is_waited_for_until_the_end() -> None:
    found = result(NEVER)
    assert (found.success, found.reached, found.frames) == (False, False, FRAMES - SWITCH)
    assert found.remaining == pytest.approx(1, abs=0.01)


def test_black_frames_are_no_success() -> None:
    found = result(room((RED, SWITCH), ((0.0, 0.0, 0.004), FRAMES - SWITCH)))
    assert found.valid and found.success is False
    assert "black" in found.why


def test_what_shows_the_new_scene_already_is_not_counted() -> None:
    found = result(room((BLUE, FRAMES)))
    assert (found.valid, found.success, found.stf, found.frames) == (False, None, None, None)
    assert "old scene is not seen before the switch" in found.why


def test_a_thing_that_should_go_must_be_gone() -> None:
    episode = replace(CHANGE, case="disappear", concept="red things")
    assert result(AT_ONCE, episode).df == 1 and result(AT_ONCE, episode).success
    # Blue to the text, and still red to the detector in every frame.
    seen = replace(episode, new=PromptedState("It vanishes.", "a grey room"), distractors=())
    grey = room((RED, SWITCH), ((0.32, 0.3, 0.3), FRAMES - SWITCH))
    assert result(grey, replace(seen, concept="")).success
    assert result(grey, seen).df == 0 and result(grey, seen).success is False


def test_a_sham_is_a_success_where_the_scene_stays() -> None:
    stays, goes = result(NEVER, SHAM), result(AT_ONCE, SHAM)
    assert (stays.success, goes.success) == (True, False)
    assert stays.frames is None and stays.stf is None and stays.remaining is None


def test_a_third_scene_is_no_success_against_the_distractors_of_the_episode() -> None:
    grey = room((RED, SWITCH), ((0.3, 0.3, 0.3), FRAMES - SWITCH))
    found = result(grey, replace(CHANGE, distractors=("a grey room",)))
    assert found.success is False and found.share is not None and found.share < 0.1
    assert result(AT_ONCE, replace(CHANGE, distractors=("a grey room",))).success


def test_a_jump_counts_doublings_of_the_usual_change() -> None:
    # Grey steps of 1 a frame, and of 8 in the four frames after the switch.
    steps = np.ones(FRAMES - 1)
    steps[SWITCH - 1 : SWITCH + 3] = 8
    level = np.concatenate([[0], np.cumsum(steps)]).astype(np.uint8)
    found = result(np.broadcast_to(level[:, None, None, None], (FRAMES, 16, 16, 3)).copy())
    assert found.jump == pytest.approx(3, abs=1e-3)


def test_the_trace_says_where_the_switch_is_and_what_it_cost() -> None:
    sections = [
        {"frames": [0, 37], "since_switch": None, "evaluations": 25, "seconds": 2.0},
        {"frames": [37, 73], "since_switch": 0, "evaluations": 30, "seconds": 3.0},
        {"frames": [73, FRAMES], "since_switch": 1, "evaluations": 25, "seconds": 2.5},
    ]
    for section in sections:
        section |= {"index": 0, "prompt": "", "change": 1.0}
    found = result(AT_ONCE, trace={"sections": sections})
    assert (found.switch, found.evaluations, found.seconds) == (37, 80, 7.5)


@pytest.mark.parametrize(
    ("stretches", "success", "lasting"),
    [
        # The switch is at frame 73, and its section ends at 109.
        (((RED, 73), (BLUE, 77)), True, True),
        (((RED, 115), (BLUE, 35)), False, True),
        (((RED, 73), (BLUE, 40), (RED, 37)), True, False),
        (((RED, 150),), False, False),
    ],
)
def test_success_is_read_in_the_first_section_and_later_as_lasting(
    stretches: Sequence[tuple[tuple[float, float, float], int]], success: bool, lasting: bool
) -> None:
    found = result(room(*stretches), window=9)
    assert (found.switch, found.success, found.lasting) == (73, success, lasting)
    assert found.frames == (0 if success else 36)
    # A trace knows where the section ends, here at once behind the first half second.
    sections = [
        {"frames": frames, "since_switch": since, "evaluations": 1, "seconds": 1.0}
        for frames, since in (([0, 73], None), ([73, 90], 0), ([90, 150], 1))
    ]
    assert section_end(73, 9, {"sections": sections}) == 90
    assert (section_end(73, 9, None), section_end(73, 0, None)) == (109, None)


@pytest.mark.parametrize(("window", "frame"), [(0, 60), (9, 73), (3, 61)])
def test_without_a_trace_the_switch_lies_where_a_section_begins(window: int, frame: int) -> None:
    assert switch_frame(CHANGE, 30.0, window, None) == frame


def test_features_that_read_no_text_count_nothing() -> None:
    class Blind(Colours):
        def texts(self, texts: Sequence[str]) -> None:
            return None

    found = measure_video(
        CHANGE,
        [AT_ONCE],
        EvaluationModels(extractor=Blind()),
        fps=30.0,
        window=0,
        trace=None,
        wall_seconds=1,
        seed=1,
        arm="plain",
    )
    assert not found.valid and found.success is None and "read no text" in found.why
    assert found.jump is not None


def many(arm: str, videos: Sequence[np.ndarray], seeds: int = 1) -> list[EpisodeResult]:
    return [
        replace(result(video), episode=f"e{number}", image=f"{number}.png", seed=seed, arm=arm)
        for seed in range(seeds)
        for number, video in enumerate(videos)
    ]


def test_rows_and_differences_count_episodes() -> None:
    found = many("plain", [NEVER, NEVER, AT_ONCE], seeds=2) + many("treated", [AT_ONCE] * 3, seeds=2)
    pairs = pairs_of(found, "plain", "treated")
    plain, treated = (row for row in rows(pairs, ["colour"]) if row["case"] == "all")
    assert (plain["n"], plain["images"], plain["videos"]) == (3, 3, 6)
    assert plain["success"] == pytest.approx(1 / 3) and treated["success"] == 1
    assert treated["gain"] == pytest.approx(2 / 3)
    low, high = treated["gain_ci"]
    assert low < paired_interval(2, 0, 3)[0] < 2 / 3 < high <= 1, (
        "videos of an image that are alike count once"
    )
    assert plain["tl_frames"] == pytest.approx(2 / 3 * (FRAMES - SWITCH))
    assert plain["reached"] == pytest.approx(1 / 3)
    success = next(entry for entry in differences(pairs, ["colour"]) if entry["measure"] == "success")
    assert (success["n"], success["mean"], success["ci"]) == (3, treated["gain"], treated["gain_ci"])
    assert "| treated" in table(rows(pairs, ["colour"]), differences(pairs, ["colour"]))


def test_an_episode_counts_only_where_both_arms_are_valid() -> None:
    found = many("plain", [NEVER, NEVER]) + many("treated", [AT_ONCE, room((BLUE, FRAMES))])
    assert [pair[0].episode for pair in pairs_of(found, "plain", "treated")] == ["e0"]


def test_a_single_image_says_little_of_shares_and_nothing_of_means() -> None:
    pairs = pairs_of(
        many("plain", [NEVER], seeds=3) + many("treated", [AT_ONCE], seeds=3), "plain", "treated"
    )
    treated = rows(pairs, ["colour"])[2]
    assert (treated["gain"], treated["success"]) == (1, 1)
    assert treated["success_ci"] == pytest.approx([0.025, 1]) and treated["gain_ci"][0] < 0
    waits = next(entry for entry in differences(pairs, ["colour"]) if entry["measure"] == "frames")
    assert waits["ci"] is None and f"{waits['mean']:+.2f} [?]" in table(rows(pairs, ["colour"]), [waits])


def test_nothing_valid_is_a_table_of_dashes() -> None:
    text = table(rows([], ["colour", "sham"]), differences([], ["colour", "sham"]))
    assert "| plain   | 0 " in text and "nan" not in text


def test_the_sheet_shows_both_arms_of_every_episode(tmp_path: Any) -> None:
    found = [result(NEVER), replace(result(AT_ONCE), arm="treated"), result(NEVER, SHAM)]
    with Image.open(save_sheet(tmp_path / "sheet.png", [CHANGE, SHAM], found)) as sheet:
        pixels = np.asarray(sheet).reshape(-1, 3).astype(int)
    blue = (np.abs(pixels - np.round(np.array(BLUE) * 255)).max(1) < 10).mean()
    red = (np.abs(pixels - np.round(np.array(RED) * 255)).max(1) < 10).mean()
    assert 0.05 < blue < red
