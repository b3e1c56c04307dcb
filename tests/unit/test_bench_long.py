"""The study of long videos: its episodes, measures of videos whose truth is known, its rows, and a small run."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from framepack_transitions.benchmarks.long import study
from framepack_transitions.benchmarks.long.measures import SectionMeasures, SwitchMeasures, measure_long
from framepack_transitions.benchmarks.long.pictures import save_plot, table
from framepack_transitions.benchmarks.long.results import LongResult
from framepack_transitions.benchmarks.long.sampling import LongSampler
from framepack_transitions.benchmarks.long.scenarios import SCENARIOS, LongEpisode, Stretch, make_long_episode
from framepack_transitions.benchmarks.long.summary import kinds, over_time, rows
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings
from framepack_transitions.headless.cli import main
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.tiny.world import Scene, Subject, render

SECTION = 36
FIRST = Scene("sky", False, Subject("circle", "red", "large"))


class TestEpisodes:
    @pytest.mark.parametrize("name", SCENARIOS)
    def test_a_video_lasts_half_a_minute_to_a_minute_and_switches_often_or_never(self, name: str) -> None:
        episode = make_long_episode(name, 3)
        assert 30 <= episode.sections * SECTION / 30 <= 60
        assert len(episode.stretches) - 1 in ((0,) if name == "quiet" else range(4, 9))

    def test_it_depends_on_its_number_alone(self) -> None:
        one, again, other = (make_long_episode("story", seed) for seed in (1, 1, 2))
        assert one.stretches == again.stretches and np.array_equal(one.image, again.image)
        assert one.stretches != other.stretches and one.noise_seed != other.noise_seed

    @pytest.mark.parametrize("seed", range(5))
    def test_every_stretch_shows_another_scene_and_what_left_returns(self, seed: int) -> None:
        stretches = {stretch.kind: stretch for stretch in make_long_episode("story", seed).stretches}
        scenes = [stretch.scene for stretch in stretches.values()]
        assert all(one != next_ for one, next_ in pairwise(scenes))
        assert stretches["disappear"].scene.subject is None
        assert stretches["return"].scene == stretches["back"].scene == stretches["start"].scene
        cut, before = stretches["cut"].scene, stretches["night"].scene
        assert cut.background != before.background
        assert (cut.subject.shape, cut.subject.colour) != (before.subject.shape, before.subject.colour)

    @pytest.mark.parametrize("seed", range(20))
    def test_the_words_for_what_returns_do_not_tell_its_size(self, seed: int) -> None:
        told = {"small", "little", "large", "big"}
        for stretch in make_long_episode("story", seed).stretches:
            if stretch.kind in ("return", "back"):
                assert not told & set(stretch.prompt.split())

    def test_an_unknown_scenario_is_said(self) -> None:
        with pytest.raises(ValueError, match="no scenario 'tale'; take one of story, places, quiet"):
            make_long_episode("tale", 0)


def episode(*stretches: tuple[str, Scene, int]) -> LongEpisode:
    return LongEpisode(
        scenario="story",
        seed=0,
        noise_seed=0,
        image=render(FIRST, 32, 32),
        stretches=tuple(Stretch(kind, scene, "", sections) for kind, scene, sections in stretches),
    )


EMPTY, NIGHT = replace(FIRST, subject=None), replace(FIRST, night=True)
STORY = episode(("start", FIRST, 1), ("disappear", EMPTY, 2), ("return", FIRST, 1), ("night", NIGHT, 1))


def video(*scenes: tuple[Scene, int]) -> np.ndarray:
    """The start image and sections of still scenes, in 0..1."""
    frames = [render(FIRST, 32, 32)]
    for scene, sections in scenes:
        frames += [render(scene, 32, 32)] * (sections * SECTION)
    return np.stack(frames) / 255


RIGHT = video((FIRST, 1), (EMPTY, 2), (FIRST, 1), (NIGHT, 1))


class TestMeasures:
    def test_a_video_that_does_as_it_is_told(self) -> None:
        switches, sections = measure_long(STORY, RIGHT, SECTION)
        assert [switch.kind for switch in switches] == ["disappear", "return", "night"]
        for switch in switches:
            assert (switch.ready, switch.success, switch.lasting, switch.latency) == (True, True, True, 0)
            assert (switch.remaining, switch.artefacts) == (0, 0)
        assert [switch.first_scene for switch in switches] == [0, None, 0]
        assert [switch.identity for switch in switches] == [None, 1, None]
        assert [section.right for section in sections] == [1] * 5
        assert all(section.colour < 0.01 for section in sections)
        assert all(section.sharpness == pytest.approx(1, abs=0.02) for section in sections)

    def test_a_video_that_stays_at_its_first_scene(self) -> None:
        switches, _ = measure_long(STORY, video((FIRST, 5)), SECTION)
        gone, returned, night = switches
        assert (gone.success, gone.lasting, gone.latency, gone.remaining) == (False, False, None, 1)
        assert (gone.first_scene, night.first_scene, returned.first_scene) == (1, 1, None)
        # It is there again without having been away, and that is said.
        assert (returned.success, returned.ready, returned.identity) == (True, False, 1)

    def test_a_change_that_comes_late_lasts_all_the_same(self) -> None:
        switches, _ = measure_long(STORY, video((FIRST, 2), (EMPTY, 1), (FIRST, 1), (NIGHT, 1)), SECTION)
        assert (switches[0].success, switches[0].lasting, switches[0].first_scene) == (False, True, 0.5)

    def test_what_returns_in_another_size_is_another_thing(self) -> None:
        other = replace(FIRST, subject=replace(FIRST.subject, size="small"))
        switches, _ = measure_long(STORY, video((FIRST, 1), (EMPTY, 2), (other, 1), (NIGHT, 1)), SECTION)
        assert (switches[1].success, switches[1].identity) == (True, 0)

    def test_colours_that_drift_and_edges_that_soften_are_measured_section_by_section(self) -> None:
        quiet, frames = episode(("start", FIRST, 3)), video((FIRST, 3))
        red = np.array([0.02, 0, 0])
        frames[1 + SECTION : 1 + 2 * SECTION] += red
        soft = frames[1 + 2 * SECTION :]
        soft[:, 1:-1] = (soft[:, :-2] + soft[:, 1:-1] + soft[:, 2:]) / 3
        switches, (first, second, third) = measure_long(quiet, frames, SECTION)
        assert switches == []
        assert second.colour - first.colour == pytest.approx(0.02, abs=0.002)
        assert second.sharpness == pytest.approx(first.sharpness, abs=0.01)
        assert third.sharpness < 0.95 * first.sharpness


def result(arm: str, seed: int, *switches: bool, scenario: str = "story", drift: float = 0.0) -> LongResult:
    """A video whose first switch is a disappearance, with a return behind it that shows half of what had left.

    Of the changes only a return lasts.
    """
    shown = {"latency": None, "remaining": 0.5, "artefacts": 0.25, "first_scene": 0.125}
    made = [
        SwitchMeasures(
            kind=kind,
            ready=number == 0,
            success=success,
            lasting=kind == "return",
            identity=0.5 if kind == "return" else None,
            **shown,
        )
        for number, (kind, success) in enumerate(zip(("disappear", "return"), switches))
    ]
    sections = (
        SectionMeasures(colour=0.01, sharpness=1.0, right=1.0),
        SectionMeasures(colour=0.01 + drift, sharpness=1.0 - drift, right=0.5),
    )
    return LongResult(
        key=f"{arm}{scenario}{seed}",
        scenario=scenario,
        seed=seed,
        arm=arm,
        switches=tuple(made),
        sections=sections,
        evaluations=24,
        seconds=1.0,
    )


RESULTS = [
    *(result("plain", seed, False, True, drift=0.01 * seed) for seed in range(4)),
    *(result("preset balanced", seed, True, seed != 0) for seed in range(4)),
    *(result(arm, 0, scenario="quiet") for arm in ("plain", "preset balanced")),
]


class TestSummary:
    def test_rows_count_every_switch_and_tell_which_were_ready(self) -> None:
        by_key = {(row["technique"], row["scenario"]): row for row in rows(RESULTS, SECTION)}
        plain, treated = by_key["plain", "story"], by_key["preset balanced", "story"]
        assert (plain["videos"], plain["n"], plain["success"], plain["ready"]) == (4, 8, 0.5, 0.5)
        assert (plain["success_ready"], plain["success_ready_n"]) == (0, 4)
        assert (treated["success"], treated["gain"], plain["gain"]) == (7 / 8, 3 / 8, None)
        assert treated["gain_ci"][0] < 3 / 8 < treated["gain_ci"][1]
        assert (plain["relapse"], treated["relapse"], treated["relapse_n"]) == (0, 4 / 7, 7)
        assert (plain["tl_frames"], plain["reached"], plain["identity"]) == (SECTION, 0, 0.5)
        assert plain["colour_drift"] == pytest.approx(0.015)
        assert plain["sharpness_drift"] == pytest.approx(-0.015)
        assert (by_key["plain", "quiet"]["n"], by_key["plain", "quiet"]["success"]) == (0, None)

    def test_scenarios_with_switches_are_pooled(self) -> None:
        assert {row["scenario"] for row in rows(RESULTS, SECTION)} == {"story", "quiet"}
        plain = [one for one in RESULTS if one.arm == "plain"]
        more = [result("plain", seed, False, False, scenario="places") for seed in range(4)]
        pooled, *_ = rows([*plain, *more], SECTION)
        assert (pooled["scenario"], pooled["videos"], pooled["success"]) == ("all", 8, 0.25)

    def test_switches_are_told_one_after_another(self) -> None:
        found = {(row["technique"], row["kind"]): row["success"] for row in kinds(RESULTS)}
        assert found == {
            ("plain", "disappear"): 0,
            ("plain", "return"): 1,
            ("preset balanced", "disappear"): 1,
            ("preset balanced", "return"): 0.75,
        }

    def test_the_tables_and_the_plot_hold_all_of_it(self, tmp_path: Path) -> None:
        text = table(rows(RESULTS, SECTION), kinds(RESULTS))
        assert (
            "success where ready" in text
            and "0.57 [" in text
            and "1 disappear" in text
            and "right at the end" in text
        )
        curves = over_time(RESULTS)
        assert curves[0]["colour"] == pytest.approx([0.01, 0.025])
        borders = {"story": [1], "quiet": []}
        assert save_plot(tmp_path / "plot.png", curves, borders, 1.2).stat().st_size > 1000


SMALL = {"story": (("start", 1), ("disappear", 1)), "quiet": (("start", 1),)}


def test_a_run_goes_on_where_it_stopped_and_samples_a_video_without_a_switch_once(tmp_path: Path) -> None:
    settings = BenchSettings(window=3, steps=1)
    arms = study.ARMS[:2]
    bench = study.LongBench(
        folder=tmp_path, seeds=range(2), settings=settings, arms=arms, scenarios={"story": SMALL["story"]}
    )
    sampler, steps = LongSampler(load_tiny(), settings), []
    first = study.run(bench, sampler, lambda *step: steps.append(step))
    assert [(one.arm, one.seed) for one in first] == [
        (arm, seed) for arm in ("plain", "preset balanced") for seed in range(2)
    ]
    assert {len(one.sections) for one in first} == {2} and {len(one.switches) for one in first} == {1}
    # Two sections of one step; guidance asks a second time in the one after the switch.
    assert [one.evaluations for one in first] == [2, 2, 3, 3]
    assert steps[-1][:2] == (4, 4) and [step[0] for step in steps] == sorted(step[0] for step in steps)

    asked = []
    sampler.sample_long = lambda episodes, arm, sample=sampler.sample_long: (
        asked.append((episodes[0].scenario, arm.name)) or sample(episodes, arm)
    )
    more = study.run(replace(bench, scenarios=SMALL), sampler)
    assert asked == [("quiet", "plain")]
    assert [one for one in more if one.scenario == "story"] == first
    plain, treated = [one for one in more if one.scenario == "quiet" and one.seed == 0]
    assert plain.sections == treated.sections and plain.key != treated.key


def test_the_command_writes_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_page: ModuleType
) -> None:
    monkeypatch.setattr(study, "SCENARIOS", SMALL)
    quick = partial(study.LongBench, settings=BenchSettings(window=3, steps=1))
    monkeypatch.setattr(study, "LongBench", quick)
    assert main(["bench", "transition", "--study", "long", "--seeds", "1", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(report, "study")
    assert (report["study"], report["quotable"], report["settings"]["bfloat16"]) == ("long", False, False)
    assert {row["technique"] for row in report["rows"]} == {"plain", "preset balanced", "preset strong"}
    assert any("fewer than 16 seeds" in remark for remark in report["remarks"])
    assert (report["machine"]["dtype"], report["machine"]["threads"]) == ("float32", 1)
    assert any(remark.startswith("Sampled in float32 on ") for remark in report["remarks"])
    assert (tmp_path / "plot.png").is_file()
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count("preset strong") == 4
