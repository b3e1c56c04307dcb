"""The conflict factorial and the dose-response study: their cells, what follows from them, and one small run of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from framepack_transitions.benchmarks.transition import bench as transition
from framepack_transitions.benchmarks.transition.arms import PLAIN, Arm, SwitchConditions
from framepack_transitions.benchmarks.transition.episodes import episode_under, make_episode, reversed_episode
from framepack_transitions.benchmarks.transition.measures import Measures
from framepack_transitions.benchmarks.transition.running.results import Result
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings, EpisodeSampler
from framepack_transitions.benchmarks.transition.studies import conflict, doses
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.tiny.world import Scene, render
from PIL import Image

SMALL = BenchSettings(window=3, steps=1, before=1, after=2)


@pytest.fixture(scope="module")
def sampler() -> EpisodeSampler:
    return EpisodeSampler(load_tiny(weights=Path("nowhere")), SMALL)


def won(arm: str, case: str, seed: int, success: bool, held: bool) -> Result:
    measures = Measures(
        success=success,
        held=(success, held),
        latency=0,
        remaining=None,
        jump=None,
        jump_before=None,
        jump_after=None,
        artefacts=0.0,
    )
    return Result(
        key=f"{arm}{case}{seed}",
        case=case,
        seed=seed,
        arm=arm,
        valid=True,
        measures=measures,
        evaluations=1,
        seconds=0.1,
    )


def factorial(success_of) -> dict[int, list[Result]]:
    """Ten episodes a cell, of which `success_of(cell)` tenths succeed and half of those last."""
    results: dict[int, list[Result]] = {length: [] for length in conflict.LENGTHS}
    for cell in conflict.cells():
        count = success_of(cell)
        results[cell.length] += [
            won(cell.arm.name, "cut", seed, seed < count, seed < count // 2) for seed in range(10)
        ]
    return results


class TestConflict:
    def test_every_cell_has_an_arm_of_its_own(self):
        cells = conflict.cells()
        names = {(cell.arm.name, cell.length) for cell in cells}
        assert len(names) == len(cells) == (2 * 2 * 2 * 2 + 2 * 2) * 5
        assert not conflict.Cell(SwitchConditions(), 1.0, 1).arm.techniques, "cap 1 is the plain sampler"

    def test_half_success_lies_between_caps_on_a_logarithmic_scale(self):
        assert conflict.cap_at_half([0.1, 0.2, 0.8, 0.9, 1.0]) == pytest.approx(np.sqrt(0.3 * 0.1))
        assert conflict.cap_at_half([0.6, 0.7, 0.8, 0.9, 1.0]) == 1
        assert conflict.cap_at_half([0.1, 0.1, 0.2, 0.3, 0.4]) is None

    def test_caps_without_a_valid_episode_are_passed_over(self):
        assert conflict.cap_at_half([0.1, 0.2, None, 0.8, None]) == pytest.approx(np.sqrt(0.3 * 0.03))
        assert conflict.cap_at_half([None, 0.7, 0.8, 0.9, 1.0]) == pytest.approx(0.3)
        assert conflict.cap_at_half([None] * 5) is None

    def test_cap_0_leaves_no_memory(self, sampler):
        episodes = [make_episode("cut", 0)]
        start = sampler.sample_past(episodes)

        def first_section(cap: float, anchor: str) -> np.ndarray:
            arm = conflict.Cell(SwitchConditions(anchor=anchor), cap, 1).arm
            return sampler.sample_after_switch(
                sampler.with_conditions(episodes, start, arm.conditions), arm
            ).frames[:, :12]

        kept, replaced = (first_section(0.0, anchor) for anchor in ("kept", "replaced"))
        assert np.allclose(kept, replaced, rtol=0, atol=2e-5)
        relayed = np.abs(first_section(0.1, "kept") - first_section(0.1, "replaced")).max()
        assert relayed > 1e-4

    def test_conclusions_follow_from_the_cells(self):
        def success_of(cell: conflict.Cell) -> int:
            if cell.conditions.history == "zero":
                return 9
            if cell.conditions.prompt == "old":
                return 10 if cell.cap == 1 else 8
            return {1.0: 2, 0.3: 2, 0.1: 8, 0.03: 6, 0.0: 6}[cell.cap]

        rows = conflict.rows(factorial(success_of))
        kept = next(c for c in conflict.conclusions(rows) if (c["length"], c["anchor"]) == (1, "kept"))
        assert kept["memory_share"] == pytest.approx(0.7)
        assert kept["cap_at_half"] == pytest.approx(np.sqrt(0.3 * 0.1))
        assert (kept["best_cap"], kept["best_success"]) == (0.1, 0.8)
        assert kept["relapse"] == pytest.approx(0.5) and kept["sham_cost"] == pytest.approx(0.2)
        assert "not reached" not in conflict.table(rows) and "cap 0.03" in conflict.table(rows)

    def test_a_small_run_draws_its_plot(self, tmp_path, sampler, monkeypatch):
        monkeypatch.setattr(conflict, "CASES", ("cut",))
        monkeypatch.setattr(conflict, "LENGTHS", (1,))
        monkeypatch.setattr(conflict, "CAPS", (1.0, 0.1))
        bench = replace(conflict.benches(tmp_path, 1)[1], settings=SMALL)
        rows = conflict.rows({1: transition.run(bench, sampler)})
        assert len(rows) == (2 * 2 * 2 + 2 * 2) * 2
        with Image.open(conflict.save_plot(tmp_path / "plot.png", rows)) as picture:
            assert picture.width > 500


class TestPremises:
    def test_a_turned_episode_begins_with_the_scene_after_the_switch(self):
        episode = make_episode("colour", 0)
        other = reversed_episode(episode)
        assert (other.before, other.after) == (episode.after, episode.before)
        assert other.prompts == episode.prompts[::-1] and other.image is episode.image_after

    def test_the_picture_after_the_switch_shows_that_scene(self):
        episode = make_episode("disappear", 0)
        place = Scene(episode.after.background, episode.after.night)
        assert np.abs(episode.image_after.astype(int) - render(place)).mean() < 2

    @pytest.mark.parametrize(("history", "prompt"), [("old", "new"), ("new", "old"), ("zero", "new")])
    def test_an_episode_is_judged_by_what_is_asked_for(self, history, prompt):
        episode = make_episode("cut", 1)
        seen = episode_under(episode, history, prompt)
        assert seen.after == {"old": episode.before, "new": episode.after}[prompt]
        assert seen.before != seen.after and seen.changes

    def test_asking_for_what_is_shown_is_a_sham(self):
        seen = episode_under(make_episode("cut", 1), "new", "new")
        assert seen.before == seen.after and not seen.changes

    def test_the_usual_condition_is_the_usual_episode(self, sampler):
        episodes = [make_episode("cut", 0)]
        start = sampler.sample_past(episodes)
        met = sampler.with_conditions(episodes, start, SwitchConditions())
        assert np.array_equal(
            sampler.sample_after_switch(met, PLAIN).frames, sampler.sample_after_switch(start, PLAIN).frames
        )

    @pytest.mark.parametrize(
        "conditions",
        [
            SwitchConditions("zero"),
            SwitchConditions(prompt="old"),
            SwitchConditions(anchor="replaced"),
            SwitchConditions("new"),
        ],
    )
    def test_every_other_condition_makes_a_difference(self, sampler, conditions):
        episodes = [make_episode("cut", 0)]
        usual = sampler.sample_past(episodes)
        history = (
            sampler.sample_past([reversed_episode(e) for e in episodes])
            if conditions.history == "new"
            else usual
        )
        took = sampler.sample_after_switch(
            sampler.with_conditions(episodes, history, conditions), Arm("other", (), conditions)
        )
        assert took.frames.shape == (1, 24, 64, 64, 3)
        assert not np.array_equal(took.frames, sampler.sample_after_switch(usual, PLAIN).frames)

    def test_wrong_premises_are_refused(self):
        with pytest.raises(ValueError, match="history is 'none'; choose one of old, new, zero"):
            SwitchConditions(history="none")


def test_doses_rise_from_plain_and_are_tabled_and_drawn(tmp_path, sampler):
    bench = replace(doses.bench(tmp_path, 1), settings=SMALL, cases=("cut", "sham"))
    assert bench.arms[0] is PLAIN and len({arm.name for arm in bench.arms}) == len(bench.arms)
    rows = []
    for number, arm in enumerate(bench.arms):
        facts = {
            "n": 3,
            "success": number / 100,
            "success_ci": [0.0, 1.0],
            "gain": 0.0,
            "gain_ci": [0.0, 0.0],
            "jump_gain": None,
            "jump_gain_ci": None,
            "jump_gain_n": 0,
            "artefacts_gain": 0.125,
            "artefacts_gain_ci": [0.0, 0.25],
        }
        others = dict.fromkeys(
            ("tl_frames", "reached", "remaining", "continuity", "artefacts", "evaluations"), 0.5
        )
        rows += [{"technique": arm.name, "case": case, **facts, **others} for case in ("all", "sham")]
    text = doses.table(rows)
    assert text.count("\n") == len(bench.arms) + 2
    assert text.count("| +0.12 [+0.00, +0.25] ") == len(bench.arms)
    for label in ("5 (default)", "0.4 (default)", "shift 12 (default)", "history removed (default)"):
        assert f"| {label} " in text, label
    with Image.open(doses.save_plot(tmp_path / "plot.png", rows)) as picture:
        assert picture.width > 500


def test_what_is_refused_is_the_old_prompt(sampler):
    refusal = next(d for d in doses.DOSES if d.name.startswith("refusal")).arms[0]
    changed = {}
    for case in ("cut", "sham"):
        start = sampler.sample_past([make_episode(case, 0)])
        plain, refused = (sampler.sample_after_switch(start, arm).frames for arm in (PLAIN, refusal))
        changed[case] = np.abs(plain - refused).max()
    assert changed["cut"] > 10 * changed["sham"], "what the new prompt asks for too is not refused"


def test_there_are_not_too_many_doses():
    assert 1 + sum(len(varied.steps) for varied in doses.DOSES) <= 48


def test_a_sham_enters_the_same_prompt_anew():
    episode = make_episode("sham", 3)
    assert episode.prompts[0] == episode.prompts[1] and episode.before == episode.after and episode.switches
