"""Suites of long videos: their files, videos whose truth is known, and the command from end to end."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from framepack_transitions.benchmarks.long.summary import rows
from framepack_transitions.benchmarks.suites.files import SHIPPED, Suite
from framepack_transitions.benchmarks.suites.long.episodes import (
    LongSuiteEpisode,
    SuiteStretch,
    read_long_suite,
)
from framepack_transitions.benchmarks.suites.long.results import LongVideo, measure_long_video
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.running.runs import EXAMPLES, PACK
from framepack_transitions.metrics.measuring.detectors import Detections
from framepack_transitions.nodes.evaluation.models import EvaluationModels
from framepack_transitions.samplers.timeline.syntaxes.table import parse
from PIL import Image

API = PACK / EXAMPLES / "api"
SECTION = 36
COLOURS = {
    "a red room": (0.8, 0.1, 0.1),
    "a blue room": (0.1, 0.1, 0.8),
    "a green room": (0.1, 0.8, 0.1),
    "a grey room": (0.4, 0.4, 0.4),
}
RED, BLUE, GREEN, GREY = COLOURS.values()


class TestShipped:
    def test_videos_last_half_a_minute_to_a_minute_and_switch_often_or_never(self) -> None:
        for episode in read_long_suite("long").episodes:
            assert 30 <= episode.seconds <= 60
            assert len(episode.stretches) - 1 in ((0,) if episode.scenario == "quiet" else range(4, 9))

    def test_each_image_begins_one_video(self) -> None:
        episodes = read_long_suite("long").episodes
        assert len({episode.image for episode in episodes}) == len(episodes) >= 10

    def test_what_leaves_returns_and_stories_end_where_they_began(self) -> None:
        for episode in read_long_suite("long").episodes:
            by_kind = {stretch.kind: stretch.state for stretch in episode.stretches}
            if episode.scenario == "story":
                assert episode.subject and by_kind["return"] == by_kind["back"] == by_kind["start"]
            if episode.scenario == "places":
                assert by_kind["back"] == by_kind["start"]

    def test_prompts_change_where_sections_begin(self) -> None:
        for episode in read_long_suite("long").episodes:
            assert [start / 1.2 for start in episode.starts] == pytest.approx(
                [round(start / 1.2) for start in episode.starts]
            )
            spans = parse(episode.timeline(), "brackets")
            assert [(span.text, span.state) for span in spans] == [
                (stretch.prompt, stretch.state) for stretch in episode.stretches
            ]
            assert [span.start for span in spans] == list(episode.starts[:-1])

    def test_distractors_are_written_by_hand_and_are_seen_in_no_right_picture(self) -> None:
        for episode in read_long_suite("long").episodes:
            for number, stretch in enumerate(episode.stretches):
                assert stretch.distractors is not None and len(stretch.distractors) >= 4
                assert episode.distractors(number) == stretch.distractors
                before = episode.stretches[max(number - 1, 0)].state
                for text in stretch.distractors:
                    assert not any(words(text) <= words(state) for state in (stretch.state, before)), text


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text)) - {"a", "an", "the", "in", "on", "of", "with", "and", "at"}


def suite(*stretches: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A suite of one episode, whose first stretch is put before the others."""
    start = {"kind": "start", "seconds": 2.4, "prompt": "Red.", "state": "a red room"}
    episode = {
        "id": "one",
        "scenario": "tale",
        "image": "red.png",
        "stretches": [start, *stretches],
        **changes,
    }
    facts = {"schema": "framepack-transitions/long-suite/1", "name": "mine", "workflow": "w.json"}
    return {**facts, "features": "clip", "episodes": [episode]}


GONE = {"kind": "disappear", "seconds": 2.4, "prompt": "Blue.", "state": "a blue room"}
AGAIN = {"kind": "return", "seconds": 1.2, "prompt": "Red again.", "state": "a red room"}


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
        return tmp_path

    def read(self, folder: Path, data: Any) -> Suite[LongSuiteEpisode]:
        (folder / "suite.json").write_text(json.dumps(data), encoding="utf-8")
        return read_long_suite(str(folder / "suite.json"))

    def test_an_episode_is_read_as_it_was_written(self, folder: Path) -> None:
        (episode,) = self.read(folder, suite(GONE, AGAIN, subject="a ball")).episodes
        assert (episode.subject, episode.starts, episode.seconds) == ("a ball", (0, 2.4, 4.8, 6), 6)
        assert [stretch.kind for stretch in episode.stretches] == ["start", "disappear", "return"]
        # Where none are given they follow from the states.
        assert "a green room" in episode.distractors(1) and "a red room" not in episode.distractors(1)

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            ([], 'it is no suite of the schema "framepack-transitions/long-suite/1"'),
            (suite(GONE), "episode one: subject is missing: say what disappears"),
            (suite(AGAIN), "stretch 2: its state is that of the stretch before, so nothing would change"),
            (
                suite({**AGAIN, "state": "a blue room"}),
                "a stretch of the kind return needs one of the kind disappear before it",
            ),
            (suite({**GONE, "kind": "start"}), "stretch 2: kind is 'start'; give one of disappear, appear"),
            (suite({**GONE, "seconds": 0.4}), "stretch 2: seconds is 0.4; give at least 1"),
            (suite({**GONE, "seconds": "two"}), "stretch 2: seconds is no number"),
            (suite({**GONE, "distractors": "a cat"}), "stretch 2: distractors is no list of texts"),
            (suite({**GONE, "colour": "red"}), "stretch 2: colour has no meaning here"),
            (suite(stretches=[]), "stretches is no list of at least one stretch"),
            (suite(image="../red.png"), "the image ../red.png lies outside the suite's folder"),
            (suite(scenario=""), "episode one: scenario is no text"),
        ],
    )
    def test_what_is_wrong_is_said(self, folder: Path, data: Any, sentence: str) -> None:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            self.read(folder, data)

    def test_episodes_of_one_scenario_have_stretches_of_the_same_kinds_and_lengths(
        self, folder: Path
    ) -> None:
        data = suite(GONE, subject="a ball")
        other = {**data["episodes"][0], "id": "two"}
        assert len(self.read(folder, {**data, "episodes": [*data["episodes"], other]}).episodes) == 2
        other["stretches"] = [other["stretches"][0], {**GONE, "seconds": 4.8}]
        with pytest.raises(ValueError, match="episode two: its stretches have other kinds or lengths"):
            self.read(folder, {**data, "episodes": [*data["episodes"], other]})


class Colours:
    """Looks at the mean colour; a text is the colour that it names."""

    name, logit_scale, resolution = "colours", 100.0, None

    def images(self, frames: Any) -> np.ndarray:
        frames = np.asarray(frames)
        return (frames / (255 if frames.dtype == np.uint8 else 1)).mean((1, 2)).astype(np.float32)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([COLOURS.get(text, GREY) for text in texts], np.float32)


class Balls:
    """Sees a ball, over the whole picture, wherever that is not blue."""

    name, floor = "balls", None

    def detect(self, frames: Any, concepts: Sequence[str]) -> Detections:
        seen = (np.asarray(frames).mean((1, 2)).argmax(1) != 2).astype(np.float32)[:, None]
        boxes = np.where(seen[..., None] > 0, np.array([0.0, 0.0, 1.0, 1.0]), np.nan)
        return Detections(seen, boxes.astype(np.float32))


def stretch(kind: str, state: str, sections: int) -> SuiteStretch:
    return SuiteStretch(
        kind=kind, prompt=kind, state=state, seconds=1.2 * sections, distractors=("a grey room",)
    )


TALE = LongSuiteEpisode(
    id="tale",
    scenario="tale",
    image="red.png",
    subject="a ball",
    stretches=(
        stretch("start", "a red room", 2),
        stretch("disappear", "a blue room", 2),
        stretch("return", "a red room", 2),
        stretch("colour", "a green room", 2),
    ),
)


def video(*sections: tuple[float, float, float]) -> np.ndarray:
    """A first frame and sections of one colour each with a little noise, uint8 [T,16,16,3]."""
    noise = np.random.default_rng(0)
    colours = np.repeat(np.array(sections), SECTION, axis=0)
    frames = np.concatenate([colours[:1], colours])[:, None, None] + noise.normal(0, 0.01, (16, 16, 3))
    return np.round(np.clip(frames, 0, 1) * 255).astype(np.uint8)


def measured(
    *sections: tuple[float, float, float], episode: LongSuiteEpisode = TALE, **changes: Any
) -> LongVideo:
    options = {
        "fps": 30.0,
        "window": 9,
        "trace": None,
        "wall_seconds": 7.0,
        "key": "k",
        "seed": 1,
        "arm": "plain",
    }
    models = EvaluationModels(extractor=Colours(), detector=Balls())
    return measure_long_video(episode, [video(*sections)], models, **{**options, **changes})


RIGHT = (RED, RED, BLUE, BLUE, RED, RED, GREEN, GREEN)


class TestMeasures:
    def test_a_video_that_does_as_it_is_told(self) -> None:
        found = measured(*RIGHT)
        switches, sections = found.result.switches, found.result.sections
        assert [switch.kind for switch in switches] == ["disappear", "return", "colour"]
        for switch in switches:
            assert (switch.ready, switch.success, switch.lasting, switch.latency) == (True, True, True, 0)
            assert switch.remaining == pytest.approx(0, abs=0.01) and switch.artefacts == 0
        assert [switch.first_scene for switch in switches] == [0, None, 0]
        assert [switch.identity for switch in switches] == [None, pytest.approx(1, abs=0.01), None]
        assert [section.right for section in sections] == [1] * 8
        assert all(section.colour < 0.01 for section in sections)
        assert all(section.sharpness == pytest.approx(1, abs=0.05) for section in sections)
        assert [score.switch.frame for score in found.scores] == [73, 145, 217]
        assert found.scores[0].metrics["df"].value == 1

    def test_a_video_that_stays_at_its_first_scene(self) -> None:
        gone, returned, colour = measured(*[RED] * 8).result.switches
        assert (gone.success, gone.lasting, gone.latency) == (False, False, None)
        assert gone.remaining == pytest.approx(1, abs=0.01)
        assert (gone.first_scene, colour.first_scene, returned.first_scene) == (1, 1, None)
        # It is there again without having been away, and that is said.
        assert (returned.success, returned.ready) == (True, False)
        assert (gone.ready, colour.success) == (True, False)

    def test_a_change_that_comes_late_lasts_all_the_same(self) -> None:
        first, *_ = measured(RED, RED, RED, BLUE, RED, RED, GREEN, GREEN).result.switches
        assert (first.success, first.lasting, first.latency, first.first_scene) == (False, True, None, 0.5)

    def test_what_shows_a_distractor_is_an_artefact_and_no_success(self) -> None:
        first, *_ = measured(RED, RED, GREY, BLUE, RED, RED, GREEN, GREEN).result.switches
        assert (first.success, first.artefacts, first.first_scene) == (False, 1, 0)

    def test_what_does_not_return_is_not_the_same_one(self) -> None:
        _, returned, _ = measured(RED, RED, BLUE, BLUE, BLUE, BLUE, GREEN, GREEN).result.switches
        assert (returned.success, returned.identity) == (False, 0)

    def test_without_boxes_nothing_is_said_of_identity(self) -> None:
        models = EvaluationModels(extractor=Colours())
        found = measure_long_video(
            TALE,
            [video(*RIGHT)],
            models,
            fps=30,
            window=9,
            trace=None,
            wall_seconds=1,
            key="k",
            seed=1,
            arm="plain",
        )
        assert [switch.identity for switch in found.result.switches] == [None] * 3

    def test_a_minute_that_drifts_in_colour(self) -> None:
        quiet = LongSuiteEpisode(
            id="q", scenario="q", image="", subject="", stretches=(stretch("start", "a red room", 3),)
        )
        found = measured(RED, (0.8, 0.1, 0.15), (0.8, 0.1, 0.2), episode=quiet).result
        assert found.switches == ()
        assert [section.colour for section in found.sections] == pytest.approx([0, 0.05, 0.1], abs=0.005)

    def test_the_trace_says_where_sections_begin_and_what_they_cost(self) -> None:
        begins = [0, 37, 61, 109, 145, 181, 217, 253, 289]
        sections = [
            {"frames": list(part), "since_switch": since, "evaluations": 25, "seconds": 2.0, "index": number}
            for number, (part, since) in enumerate(zip(pairwise(begins), [None, None, 0, 1, 0, 1, 0, 1]))
        ]
        found = measured(*RIGHT, trace={"sections": sections})
        assert [score.switch.frame for score in found.scores] == [61, 145, 217]
        assert (found.result.evaluations, found.result.seconds) == (200, 16)

    def test_a_video_that_is_too_short_is_said(self) -> None:
        with pytest.raises(ValueError, match="181 frames and ends before its last prompt, at frame 217"):
            measured(*RIGHT[:5])


def test_intervals_take_the_videos_of_one_image_together() -> None:
    right, wrong = measured(*RIGHT).result, measured(*[RED] * 8).result
    videos = [replace(video, seed=seed) for seed, video in enumerate((right, right, wrong, wrong))]

    def success_of(images: str) -> list[float]:
        (row,) = rows(
            [replace(video, episode=image, image=image) for video, image in zip(videos, images)], SECTION
        )
        assert (row["videos"], row["n"], row["success"]) == (4, 12, 8 / 12)
        return list(row["success_ci"])

    apart, alike = success_of("abcd"), success_of("aabb")
    assert alike[0] < apart[0] < apart[1] < alike[1]


def test_the_command_writes_the_tables_of_the_study(
    tmp_path: Path, report_page: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = json.loads((API / "tiny_bench.json").read_text(encoding="utf-8"))
    graph["5"]["inputs"]["window"] = 3
    graph["9"]["inputs"].update(window=3, steps=1, measure_memory=False)
    (tmp_path / "quick.json").write_text(json.dumps(graph), encoding="utf-8")
    (tmp_path / "start.png").write_bytes(
        (SHIPPED["tiny"].parent / "images" / "tiny_disappear.png").read_bytes()
    )
    circle, empty = "a large white circle stands still over the city by day", "an empty city by day"
    stretches = [
        {"kind": kind, "seconds": 1.2, "prompt": state, "state": state, "distractors": [f"a red star {kind}"]}
        for kind, state in (("start", circle), ("disappear", empty), ("return", circle))
    ]
    given = suite(stretches=stretches, image="start.png", subject="white circle")
    (tmp_path / "few.json").write_text(json.dumps({**given, "features": "tiny"}), encoding="utf-8")
    files = ["--suite", str(tmp_path / "few.json"), "--workflow", str(tmp_path / "quick.json")]
    command = ["bench", "transition", *files, "--out", str(tmp_path / "out")]

    assert main(command) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    report_page.check(report, "suite")
    assert [(row["technique"], row["scenario"], row["n"]) for row in report["rows"]] == [
        ("plain", "tale", 2),
        ("treated", "tale", 2),
    ]
    assert [row["kind"] for row in report["switches_in_turn"]] == ["disappear", "return"] * 2
    assert [len(curve["right"]) for curve in report["over_time"]] == [9, 9]
    assert [[found["frame"] for found in switches] for switches in report["switches"]] == [[37, 73]] * 2
    # Nine sections of one step, and in two of them guidance asks a second time.
    assert [entry["evaluations"] for entry in report["episodes"]] == [9, 11]
    assert "success where ready" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / report["plot"]).stat().st_size > 1000

    for option, sentence in (
        (["--rate"], "--rate is for suites whose videos have one switch"),
        (["--features", "pixel"], "judged by texts, which pixel does not read"),
    ):
        assert main([*command, *option]) == 1
        assert sentence in capsys.readouterr().err
