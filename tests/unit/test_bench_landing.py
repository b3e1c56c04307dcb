"""The study of landing: composition along a section, where switches land, measures of videos whose truth is known, a small run."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.landing import study, table
from framepack_transitions.benchmarks.landing.composition import WITHOUT_PAST, Composition
from framepack_transitions.benchmarks.landing.results import LandingResult
from framepack_transitions.benchmarks.landing.study import (
    ARMS,
    ASKED,
    CASES,
    SEEN,
    LandingBench,
    LandingSampler,
    measure,
    run,
)
from framepack_transitions.benchmarks.transition.episodes import SWITCHES, make_episode
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings
from framepack_transitions.headless.cli import main
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.plan import Section, plan_sections
from framepack_transitions.samplers.techniques.base import POSITIVE, PREVIOUS, Step
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny
from framepack_transitions.tiny.world import Scene, render
from torch import Tensor

SMALL = BenchSettings(window=9, steps=1)
STEP = Step(sigma=1.0, t=1.0)
BY_NAME = {arm.name: arm for arm in ARMS}


@pytest.fixture(scope="module")
def bundle() -> TinyBundle:
    return load_tiny(weights=Path("nowhere"))


def switched() -> list[Section]:
    prompts = [Prompt(start=0.0, text="old"), Prompt(start=1.3, text="new")]
    return assign_prompts(plan_sections("f1", 3, 9), prompts)


def latents(value: float) -> Tensor:
    return torch.full((1, 16, 9, 2, 2), value)


def test_a_section_is_the_old_prompts_until_the_switch_and_the_new_ones_without_the_past_after_it() -> None:
    composition, section = Composition(frames=4), switched()[1]
    assert composition.predictions(section, STEP) == (PREVIOUS, WITHOUT_PAST)
    predictions = {POSITIVE: latents(1), PREVIOUS: latents(2), WITHOUT_PAST: latents(3)}
    composed = composition.combine(section, STEP, latents(1), predictions)
    assert composed[0, 0, :, 0, 0].tolist() == [2.0] * 4 + [3.0] * 5


@pytest.mark.parametrize("number", [0, 2])
def test_other_sections_are_left_as_they_are(number: int) -> None:
    composition, section, x0 = Composition(frames=4), switched()[number], latents(1)
    assert composition.predictions(section, STEP) == ()
    assert composition.combine(section, STEP, x0, {POSITIVE: x0}) is x0


@pytest.mark.parametrize(
    ("landing", "lengths", "first_new"), [("border", [9, 9], 19), ("frame", [4, 9, 5], 23)]
)
def test_a_section_begins_where_the_switch_lands(
    landing: str, lengths: list[int], first_new: int, bundle: TinyBundle
) -> None:
    sampler, episodes = LandingSampler(bundle, SMALL), [make_episode("colour", 0)]
    start = sampler.sample_past(episodes)
    planned = sampler.planned(episodes, start, landing).sections
    assert [section.window for section in planned] == lengths
    assert planned[0].latents[0] == 19, "the sections before are those of all arms"
    new = [section for section in planned if section.prompt.text == "new"]
    assert new[0].latents[0] == first_new and new[0].since_switch == 0


def test_a_control_has_no_prompt_to_land() -> None:
    assert "control" not in CASES and set(SWITCHES) < set(CASES)


def frames_of(*parts: tuple[int, Scene, float]) -> np.ndarray:
    """So many frames of scenes whose subject is at a place across."""
    return np.concatenate(
        [np.tile(render(scene, x, 32.0) / 255, (count, 1, 1, 1)) for count, scene, x in parts]
    )


class TestMeasures:
    episode = make_episode("colour", 0)

    def measured(self, *parts: tuple[int, Scene, float], arm: str = "plain, on its frame") -> LandingResult:
        old = replace(self.episode, before=still(self.episode.before), after=still(self.episode.after))
        return measure(old, frames_of(*parts), 36, BY_NAME[arm], key="k", evaluations=24)

    def test_a_switch_on_its_frame_is_right_in_both_halves(self) -> None:
        old, new = still(self.episode.before), still(self.episode.after)
        found = self.measured((SEEN + 16, old, 32.0), (56, new, 32.0))
        assert found.valid and found.both and found.lasting
        assert found.jump == pytest.approx(0, abs=0.5) and found.artefacts == 0

    def test_one_at_the_border_comes_too_early(self) -> None:
        old, new = still(self.episode.before), still(self.episode.after)
        found = self.measured((SEEN, old, 32.0), (72, new, 32.0), arm="plain, at the border")
        assert (found.before, found.after, found.both) == (False, True, False)

    def test_one_that_is_refused_comes_never_and_one_that_is_lost_does_not_last(self) -> None:
        old, new = still(self.episode.before), still(self.episode.after)
        refused = self.measured((SEEN + 72, old, 32.0))
        assert (refused.before, refused.after, refused.lasting) == (True, False, False)
        lost = self.measured((SEEN + 16, old, 32.0), (40, new, 32.0), (16, old, 32.0))
        assert lost.both and not lost.lasting

    @pytest.mark.parametrize(
        ("arm", "at"), [("plain, at the border", 0), ("composition", 16), ("plain, on its frame", 16)]
    )
    def test_a_jump_is_looked_for_where_the_switch_lands(self, arm: str, at: int) -> None:
        old, new = still(self.episode.before), still(self.episode.after)
        found = self.measured((SEEN + at, old, 22.0), (72 - at, new, 32.0), arm=arm)
        assert found.jump == pytest.approx(10, abs=1)

    def test_a_line_holds_all_of_it(self) -> None:
        found = self.measured((SEEN + 72, still(self.episode.before), 32.0))
        assert LandingResult.from_line(found.to_line()) == found


def still(scene: Scene) -> Scene:
    return replace(scene, motion="still")


def result(arm: str, case: str, seed: int, **facts: bool | float | None) -> LandingResult:
    usual = {"valid": True, "before": True, "after": True, "lasting": True, "jump": 1.0, "artefacts": 0.0}
    return LandingResult(key="k", case=case, seed=seed, arm=arm, evaluations=24, **{**usual, **facts})  # type: ignore[arg-type]


def test_rows_count_valid_episodes_and_compare_jumps_with_plain_at_the_border() -> None:
    plain, framed = ARMS[0].name, "plain, on its frame"
    results = [
        result(plain, "colour", 0, before=False),
        result(plain, "colour", 1, valid=False),
        result(plain, "motion", 0, jump=None),
        result(framed, "colour", 0, jump=4.0),
        result(framed, "colour", 1, valid=False),
        result(framed, "motion", 0, after=False),
        result(framed, "cut", 0, jump=None, lasting=False),
        result(plain, "cut", 0, jump=None),
    ]
    found = {(row["arm"], row["group"]): row for row in table.rows(results)}
    assert set(found) == {(arm, group) for arm in (plain, framed) for group in ("local", "scene-wide")}
    assert found[plain, "local"]["both"] == 0.5 and found[plain, "local"]["n"] == 2
    local = found[framed, "local"]
    assert (local["both"], local["before"], local["after"]) == (0.5, 1.0, 0.5)
    assert (local["jump_gain"], local["jump_gain_n"]) == (3.0, 1)
    assert found[framed, "scene-wide"]["relapse"] == 1.0 and found[framed, "scene-wide"]["jump_gain"] is None


def test_a_run_goes_on_from_what_is_there(
    tmp_path: Path, bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "CASES", ("colour",))
    bench = LandingBench(folder=tmp_path, seeds=range(1), settings=SMALL)
    results = run(bench, bundle)
    assert [found.arm for found in results] == [arm.name for arm in ARMS]
    calls = {found.arm: found.evaluations for found in results}
    assert calls["plain, at the border"] == 2 and calls["plain, on its frame"] == 3, "one section more"
    assert calls["composition"] == 4, "the old prompt, and the new one without the past"
    monkeypatch.setattr(LandingSampler, "sample_past", None)
    assert run(bench, bundle) == results


def test_the_command_writes_a_report_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_page: object
) -> None:
    monkeypatch.setattr(study, "CASES", ("colour", "sham"))
    monkeypatch.setattr(study, "LandingBench", partial(LandingBench, settings=SMALL))
    command = ["bench", "transition", "--study", "landing", "--seeds", "1", "--first-seed", "5"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")  # type: ignore[attr-defined]
    assert written["settings"]["asked_latent_frames"] == ASKED
    assert (tmp_path / written["plot"]).is_file() and "composition" in (tmp_path / "table.md").read_text()
