"""The study of shots: what its prompts say, how the last one takes over, measures of videos whose truth is known, a small run."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.shots import choosing, study, table
from framepack_transitions.benchmarks.shots.episodes import (
    ANOTHER,
    CASES,
    IT,
    LENGTHS,
    RETURN,
    SHAPE,
    make_shot_episode,
)
from framepack_transitions.benchmarks.shots.results import ShotResult, Shown
from framepack_transitions.benchmarks.shots.sampling import ARMS, ShotArm, ShotSampler
from framepack_transitions.benchmarks.shots.study import ShotBench, measure, run
from framepack_transitions.benchmarks.transition.arms import PLAIN
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings
from framepack_transitions.headless.cli import main
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny
from framepack_transitions.tiny.world import Scene, prompt_of, render
from framepack_transitions.tiny.world.tables import COLOURS, SIZE_WORDS

SMALL = BenchSettings(window=9, steps=1)
SECTION = 36
BY_NAME = {arm.name: arm for arms in ARMS.values() for arm in arms}


@pytest.fixture(scope="module")
def bundle() -> TinyBundle:
    return load_tiny(weights=Path("nowhere"))


class TestEpisodes:
    @pytest.mark.parametrize("seed", range(8))
    def test_nothing_of_the_other_scene_is_as_in_the_first_but_the_time_of_day(self, seed: int) -> None:
        episode = make_shot_episode(IT, seed)
        mine, other = episode.subject, episode.other_subject
        assert episode.first.background != episode.other.background
        assert mine.shape != other.shape and mine.colour != other.colour and mine.size != other.size
        assert episode.first.night == episode.other.night

    @pytest.mark.parametrize("case", [IT, SHAPE, RETURN])
    def test_the_last_prompt_leaves_out_what_the_subject_looks_like(self, case: str) -> None:
        for seed in range(8):
            episode = make_shot_episode(case, seed)
            said = set(episode.prompts[-1].split())
            assert not said & {*COLOURS, *(word for words in SIZE_WORDS.values() for word in words if word)}
            assert (episode.subject.shape in said) == (case != IT)
            assert episode.asked.background in said, "it says where"
            assert set(episode.words.split()) <= set(episode.prompts[0].split()) | {episode.subject.size}

    def test_another_subject_is_named_in_full(self) -> None:
        episode = make_shot_episode(ANOTHER, 0)
        assert episode.asked == episode.other and episode.left == episode.first
        assert {episode.other_subject.colour, episode.other_subject.shape} <= set(episode.prompts[-1].split())

    def test_a_scene_that_returns_has_a_still_subject_and_one_between(self) -> None:
        for seed in range(8):
            episode = make_shot_episode(RETURN, seed)
            assert not episode.moves and len(episode.prompts) == len(LENGTHS[RETURN]) == 3
            assert episode.asked == episode.first and episode.left == episode.other

    def test_an_episode_is_the_same_each_time_and_an_unknown_case_is_refused(self) -> None:
        one, again = (make_shot_episode(IT, 3) for _ in range(2))
        assert (one.first, one.other, one.prompts) == (again.first, again.other, again.prompts)
        assert np.array_equal(one.image, again.image)
        with pytest.raises(ValueError, match="has no case 'they'"):
            make_shot_episode("they", 0)


class TestChoosing:
    @pytest.mark.parametrize("seed", range(8))
    def test_of_two_scenes_that_are_nearly_the_same_one_is_meant(self, seed: int) -> None:
        (question,) = choosing.questions(choosing.ALIKE, range(seed, seed + 1))
        one, other, _ = question.scenes
        assert (question.meant == one) != (question.meant == other)
        parts = [
            (
                scene.background,
                scene.night,
                scene.subject and scene.subject.shape,
                scene.subject and scene.subject.colour,
            )
            for scene in (one, other)
        ]
        assert sum(mine != its for mine, its in zip(*parts)) == 1
        assert len(question.prompts) == 4 and not {"small", "large"} & set(question.prompts[-1].split())

    @pytest.mark.parametrize(("kind", "count"), [(choosing.STORY, 7), (choosing.PLACES_ALONE, 4)])
    def test_a_long_video_returns_to_its_first_scene(self, kind: str, count: int) -> None:
        (question,) = choosing.questions(kind, range(1))
        assert len(question.scenes) == count == len(question.prompts) - 1
        assert question.meant == question.scenes[0] != question.scenes[-1]

    def test_pictures_are_chosen_by_what_they_show(self) -> None:
        """By the trained CLIP of the embedded world, of scenes that have nothing in common."""
        scenes = [make_shot_episode(IT, 0).first, make_shot_episode(IT, 0).other]
        for meant, scene in enumerate(scenes):
            question = choosing.Question((*scenes, scenes[1 - meant]), ("", "", "", prompt_of(scene)), scene)
            assert choosing.by_pictures()(question) == meant

    def test_rows_count_what_each_way_of_choosing_finds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choosing, "by_texts", lambda bundle: lambda question: 0)
        monkeypatch.setattr(choosing, "by_pictures", lambda: lambda question: 1)
        places = choosing.rows(None, range(4))[1]  # type: ignore[arg-type]
        assert places == {"scenes": "places", "of": 3, "n": 4, "texts": 4, "pictures": 0}
        assert "4 of 4" in choosing.table([places])


class TestPrompts:
    def prompts(self, bundle: TinyBundle, case: str, arm: ShotArm) -> list[Prompt]:
        sampler, episodes = ShotSampler(bundle, SMALL), [make_shot_episode(case, 0)]
        images = torch.from_numpy(episodes[0].image)[None].float() / 255
        inputs = sampler._inputs(sampler._driver(PLAIN, images), images)
        return sampler._shot_prompts(episodes, arm, inputs)

    @pytest.mark.parametrize(
        ("case", "name", "marks"),
        [
            (IT, "a cut", (True, False, False, False)),
            (IT, "keep", (True, True, False, False)),
            (RETURN, "plain", (False, False, False, False)),
            (RETURN, "recall", (True, False, True, False)),
            (RETURN, "a cut to the start image", (True, False, False, True)),
        ],
    )
    def test_the_last_prompt_takes_over_as_its_arm_says(
        self, case: str, name: str, marks: tuple[bool, ...], bundle: TinyBundle
    ) -> None:
        last = self.prompts(bundle, case, BY_NAME[name])[-1]
        assert (last.cut, last.keep is not None, last.recall, last.start_latent is not None) == marks
        assert (last.image_embeds is not None) == marks[-1]

    def test_what_brings_the_scene_between_acts_at_its_switch_alone(self, bundle: TinyBundle) -> None:
        prompts = self.prompts(bundle, RETURN, BY_NAME["plain"])
        assert [prompt.change for prompt in prompts] == [0.0, 1.0, 0.0]
        assert [prompt.start for prompt in prompts] == [0.0, pytest.approx(73 / 30), pytest.approx(145 / 30)]


def frames_of(*parts: tuple[int, Scene, float]) -> np.ndarray:
    """A start frame and so many sections of scenes whose subject is at a place across."""
    stretches = [
        np.tile(render(scene, x, 32.0) / 255, (count * SECTION, 1, 1, 1)) for count, scene, x in parts
    ]
    return np.concatenate([stretches[0][:1], *stretches])


class TestMeasures:
    @pytest.mark.parametrize("case", [IT, SHAPE])
    def test_a_subject_that_is_carried_over_is_seen_elsewhere(self, case: str) -> None:
        episode = make_shot_episode(case, 1)
        new = replace(episode.other, subject=episode.subject)
        found = measure(
            episode,
            frames_of((2, episode.first, 32.0), (2, new, 32.0), (1, episode.other, 32.0)),
            SECTION,
            key="k",
            arm="keep",
            evaluations=37,
        )
        carried = Shown(subject=True, size=True, other=False, place=True, left=False)
        lost = Shown(subject=False, size=False, other=True, place=True, left=False)
        assert found.valid and found.met and found.sections == (carried, carried, lost)
        assert found.away is None and ShotResult.from_line(found.to_line()) == found

    def test_an_old_place_and_another_size_are_seen(self) -> None:
        episode = make_shot_episode(IT, 1)
        other_size = replace(episode.subject, size="small" if episode.subject.size == "large" else "large")
        new = replace(episode.first, subject=other_size)
        found = measure(
            episode,
            frames_of((2, episode.first, 32.0), (3, new, 32.0)),
            SECTION,
            key="k",
            arm="keep",
            evaluations=37,
        )
        assert found.sections == (Shown(subject=True, size=False, other=False, place=False, left=True),) * 3

    def test_a_scene_that_was_wrong_from_the_beginning_does_not_count(self) -> None:
        episode = make_shot_episode(IT, 1)
        found = measure(
            episode, frames_of((5, episode.other, 32.0)), SECTION, key="k", arm="keep", evaluations=1
        )
        assert not found.valid and table.rows([found]) == []

    @pytest.mark.parametrize("x", [32.0, 26.0])
    def test_what_returns_is_looked_for_where_it_had_stood(self, x: float) -> None:
        episode = make_shot_episode(RETURN, 1)
        parts = ((2, episode.first, 32.0), (2, episode.other, 32.0), (1, episode.first, x))
        found = measure(episode, frames_of(*parts), SECTION, key="k", arm="recall", evaluations=12)
        assert found.sections == (Shown(subject=True, size=True, other=False, place=True, left=False),)
        assert found.met and found.away == pytest.approx(32 - x, abs=0.5)


def result(arm: str, case: str, seed: int, *subject: bool, **facts: bool | float | None) -> ShotResult:
    sections = tuple(Shown(subject=so, size=so, other=False, place=True, left=False) for so in subject)
    usual = {"moves": False, "valid": True, "met": True, "away": None}
    return ShotResult(
        key="k", case=case, seed=seed, arm=arm, sections=sections, evaluations=36, **{**usual, **facts}
    )  # type: ignore[arg-type]


def test_rows_count_by_section_and_by_how_the_subject_had_been() -> None:
    results = [
        result("keep", IT, 0, True, True, False, moves=True),
        result("keep", IT, 1, True, False, False),
        result("keep", IT, 2, False, False, False),
        result("keep", IT, 3, True, True, True, valid=False),
        result("recall", RETURN, 0, True, away=0.0),
        result("recall", RETURN, 1, True, away=5.0, met=False),
        result("recall", RETURN, 2, False),
    ]
    found = {(row["case"], row["section"]): row for row in table.rows(results)}
    assert set(found) == {(IT, 1), (IT, 2), (IT, 3), (RETURN, 1)}
    assert [found[IT, section]["subject"] for section in (1, 2, 3)] == pytest.approx([2 / 3, 1 / 3, 0])
    assert (found[IT, 1]["moved"], found[IT, 1]["stood"]) == (1.0, 0.5)
    returned = found[RETURN, 1]
    assert (returned["away"], returned["moved"], returned["met"]) == (2.5, None, pytest.approx(2 / 3))


def test_a_run_goes_on_from_what_is_there(
    tmp_path: Path, bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = ShotBench(folder=tmp_path, seeds=range(1), settings=SMALL)
    results = run(bench, bundle)
    assert [(found.case, found.arm) for found in results] == [
        (case, arm.name) for case in CASES for arm in ARMS[case]
    ]
    calls = {(found.case, found.arm): found.evaluations for found in results}
    assert calls[IT, "a cut"] == 3 and calls[IT, "keep"] == 4, "one to look for the subject"
    assert calls[RETURN, "plain"] == calls[RETURN, "recall"] == 1
    monkeypatch.setattr(ShotSampler, "sample_shots", None)
    assert run(bench, bundle) == results


def test_the_command_writes_a_report_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_page: object
) -> None:
    monkeypatch.setattr(study, "ShotBench", partial(ShotBench, settings=SMALL))
    monkeypatch.setattr(study, "CASES", (SHAPE, RETURN))
    command = ["bench", "transition", "--study", "shots", "--seeds", "1", "--first-seed", "5"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")  # type: ignore[attr-defined]
    assert [row["n"] for row in written["choices"]] == [1, 1, 1]
    assert written["settings"]["sections_by_prompt"][RETURN] == [2, 2, 1]
    assert (tmp_path / written["plot"]).is_file() and "recall" in (tmp_path / "table.md").read_text()
