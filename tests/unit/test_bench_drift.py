"""The study of drift: a planted gain, its measures on videos whose truth is known, and a small run."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.drift import study, table
from framepack_transitions.benchmarks.drift.planted import PlantedGain
from framepack_transitions.benchmarks.drift.results import DriftResult
from framepack_transitions.benchmarks.drift.study import ARMS, DriftBench, measure, run
from framepack_transitions.benchmarks.long.scenarios import make_long_episode
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings
from framepack_transitions.headless.cli import main
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.plan import DIRECTIONS, Section, plan_sections
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.tiny.world import render

SMALL = BenchSettings(window=3, steps=2)


def sections(layout: str, count: int) -> list[Section]:
    return assign_prompts(plan_sections(layout, count, 3), [Prompt(start=0.0, text="a scene")])


@pytest.mark.parametrize("layout", DIRECTIONS)
def test_every_section_is_remembered_more_vivid_than_the_one_before_it_and_the_video_is_not(layout):
    history, plant = History(DIRECTIONS[layout], torch.zeros(1, 16, 1, 2, 2)), PlantedGain()
    for section in sections(layout, 4):
        plant.before_section(section, SimpleNamespace(history=history))
        history.append(torch.ones(1, 16, 3, 2, 2))
    remembered = history.recent(12)[0, 0, :, 0, 0].tolist()
    in_time = remembered if layout == "f1" else remembered[::-1]
    expected = [1.03**number for number in (1, 2, 3) for _ in range(3)] + [1.0] * 3
    assert in_time == pytest.approx(expected), "the newest is not planted yet"
    assert all(torch.equal(section, torch.ones_like(section)) for section in history.sections)


def test_the_anchor_takes_out_what_was_planted():
    """The second section is the reference of those after it."""
    history, plant = History(DIRECTIONS["f1"], torch.zeros(1, 16, 1, 2, 2)), PlantedGain(colour_anchor=1.0)
    drawn = torch.rand(1, 16, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for section in sections("f1", 5):
        plant.before_section(section, SimpleNamespace(history=history))
        history.append(drawn)
    remembered = history.recent(15)
    assert torch.allclose(remembered[:, :, :6], torch.cat([1.03 * drawn, 1.03**2 * drawn], dim=2))
    assert torch.allclose(remembered[:, :, 6:], torch.cat([drawn] * 3, dim=2), atol=1e-5)


def test_a_slope_is_told_in_percent_of_the_settled_section_and_leaves_out_the_first():
    assert table.slope([9.0, 2.0, 2.06, 2.12, 2.18]) == pytest.approx(3.0)
    assert table.slope([0.0, 0.4, 0.4, 0.4]) == pytest.approx(0.0)


def test_colours_are_measured_section_by_section_and_both_scenes_at_their_ends():
    episode = make_long_episode("places", 0, (("start", 2), ("background", 1)))
    red, grey = np.tile([1.0, 0.0, 0.0], (6, 64, 64, 1)), np.full((6, 64, 64, 3), 0.5)
    named = {"key": "k", "arm": "plain", "evaluations": 1}
    measured = measure(episode, np.concatenate([grey[:1], red, grey, red]), 6, **named)
    assert measured.saturation == pytest.approx((1.0, 0.0))
    assert measured.brightness == pytest.approx((0.2126, 0.5)), "luma of BT.709"
    assert (measured.kept, measured.switched) == (False, False)
    old, new = (np.tile(render(stretch.scene, 32, 32) / 255, (6, 1, 1, 1)) for stretch in episode.stretches)
    right, refused = (
        measure(episode, np.concatenate([red[:1], red, old, end]), 6, **named) for end in (new, old)
    )
    assert (right.kept, right.switched) == (True, True)
    assert (refused.kept, refused.switched) == (True, False)
    assert DriftResult.from_line(measured.to_line()) == measured


def test_a_run_goes_on_from_what_is_there_and_each_arm_is_another_video(tmp_path, monkeypatch):
    bundle = load_tiny(weights=Path("nowhere"))
    bench = DriftBench(folder=tmp_path, seeds=range(1), settings=SMALL, sections=5)
    results = run(bench, bundle)
    assert [result.arm for result in results] == [arm.name for arm in ARMS]
    assert len({result.saturation for result in results}) == len(ARMS)
    plain, anchored = results[0].saturation, results[1].saturation
    assert plain[:3] == anchored[:3] and plain[3:] != anchored[3:], "the anchor waits for the third section"
    monkeypatch.setattr(study.DriftSampler, "sample_long", None)
    assert run(bench, bundle) == results


def test_the_command_writes_a_report_and_a_table(tmp_path, monkeypatch, capsys, report_page):
    small = partial(DriftBench, settings=SMALL, sections=3)
    monkeypatch.setattr(study, "DriftBench", small)
    command = ["bench", "transition", "--study", "drift", "--seeds", "2", "--first-seed", "5"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")
    assert [row["arm"] for row in written["rows"]] == [arm.name for arm in ARMS]
    assert all(row["n"] == 2 and len(row["saturation_over_time"]) == 3 for row in written["rows"])
    assert "planted, colour anchor 0.5" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "not enough to quote" in capsys.readouterr().out


def test_it_samples_in_float32_alone(tmp_path, capsys):
    command = ["bench", "transition", "--study", "drift", "--bfloat16", "--out", str(tmp_path)]
    assert main(command) == 1
    assert "The study drift samples in float32" in capsys.readouterr().err


def test_arms_are_compared_with_the_first_one_video_by_video():
    def video(arm: str, seed: int, rise: float, switched: bool) -> DriftResult:
        curve = tuple(0.5 + rise * section for section in range(4))
        return DriftResult(
            key="k",
            seed=seed,
            arm=arm,
            saturation=curve,
            brightness=(0.5,) * 4,
            kept=True,
            switched=switched,
            evaluations=1,
        )

    rises = [0.0, 0.01, 0.002]
    plain = [video("plain", seed, rise, seed > 0) for seed, rise in enumerate(rises)]
    more = [video("planted", seed, rise + 0.001 * seed, True) for seed, rise in enumerate(rises)]
    one, other = table.rows([*plain, *more])
    assert one["saturation_gain"] is None, "plain is not compared with itself"
    expected = np.mean([table.slope(b.saturation) - table.slope(a.saturation) for a, b in zip(plain, more)])
    assert other["saturation_gain"] == pytest.approx(expected) and expected > 0
    assert other["saturation_gain_n"] == 3 and other["brightness_gain"] == pytest.approx(0)
    assert other["switched_gain"] == pytest.approx(1 / 3)
    assert (one["switched"], other["switched"]) == (pytest.approx(2 / 3), 1.0)
