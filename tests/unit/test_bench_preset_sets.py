"""The study of sets that could be presets: their windows, the bar, its table and plot, a small run of the command."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.benchmarks.transition.arms import PLAIN
from framepack_transitions.benchmarks.transition.episodes import SWITCHES
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings
from framepack_transitions.benchmarks.transition.studies import preset_sets
from framepack_transitions.benchmarks.transition.studies.preset_sets import ARMS, BARS, ONE, SETS, THREE, TWO
from framepack_transitions.benchmarks.transition.summary import POOLED
from framepack_transitions.headless.cli import main
from framepack_transitions.samplers.techniques.base import Step, in_window
from framepack_transitions.samplers.techniques.presets import PRESETS
from PIL import Image


@pytest.mark.parametrize(("t_end", "count"), [(ONE, 1), (TWO, 2), (THREE, 3)])
def test_a_window_holds_as_many_of_the_first_steps_as_its_name_says(t_end: float, count: int) -> None:
    steps = BenchSettings().steps
    assert sum(in_window(Step(sigma=1.0, t=1 - step / steps), 1.0, t_end) for step in range(steps)) == count


def test_presets_are_among_the_sets_as_they_are() -> None:
    assert SETS["preset balanced"] == PRESETS["balanced"] and SETS["preset clean"] == PRESETS["clean"]
    assert ARMS[0] is PLAIN and len({arm.name for arm in ARMS}) == len(ARMS)


def row(arm: str, case: str, **facts: Any) -> dict[str, Any]:
    usual = {
        "n": 32,
        "success": 0.95,
        "success_ci": [0.9, 1.0],
        "gain": 0.0,
        "gain_ci": [-0.02, 0.02],
        "artefacts_gain": 0.05,
        "artefacts_gain_ci": [0.0, 0.1],
        "jump_gain": 0.5,
        "jump_gain_ci": [0.0, 1.0],
        "jump_gain_n": 30,
        "evaluations": 15.0,
    }
    return {"technique": arm, "case": case, **usual, **facts}


def rows(name: str, sham: dict[str, Any], **facts: Any) -> list[dict[str, Any]]:
    plain = [row(PLAIN.name, case, evaluations=12.0) for case in (POOLED, *SWITCHES, "sham")]
    return [
        *plain,
        row(name, POOLED, **facts),
        *(row(name, case) for case in SWITCHES),
        row(name, "sham", **sham),
    ]


class TestBar:
    def missed(self, sham: dict[str, Any] | None = None, **facts: Any) -> list[str]:
        found = preset_sets.with_bars(rows("gate 1", sham or {}, **facts))
        assert found[0]["missed"] == [], "nothing is asked of plain"
        missed: list[str] = found[1]["missed"]
        return missed

    def test_a_set_on_the_bar_misses_nothing(self) -> None:
        edge = {"success": 0.9, "artefacts_gain": 0.08, "jump_gain": 0.8, "evaluations": 1.3 * 12}
        assert self.missed({"gain": -0.03}, **edge) == []
        assert "| nothing |" in preset_sets.table(rows("gate 1", {}, **edge))

    @pytest.mark.parametrize(
        ("facts", "column"),
        [
            ({"success": 0.89}, "success"),
            ({"artefacts_gain": 0.09}, "artefacts_gain"),
            ({"jump_gain": 0.9}, "jump_gain"),
            ({"jump_gain": None}, "jump_gain"),
            ({"evaluations": 16.0}, "calls"),
            ({"sham": {"gain": -0.04}}, "sham_loss"),
        ],
    )
    def test_each_limit_is_missed_by_itself(self, facts: dict[str, Any], column: str) -> None:
        assert self.missed(**facts) == [BARS[column].asked]

    def test_the_plot_shows_every_set(self, tmp_path: Path) -> None:
        with Image.open(preset_sets.save_plot(tmp_path / "plot.png", rows("gate 1", {}))) as picture:
            assert picture.width > 500


def test_the_command_writes_a_report_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_page: object
) -> None:
    monkeypatch.setattr(preset_sets, "BenchSettings", partial(BenchSettings, window=3, steps=1, before=1))
    monkeypatch.setattr(preset_sets, "CASES", ("colour", "sham"))
    monkeypatch.setattr(preset_sets, "SWITCHES", ("colour",))
    monkeypatch.setattr(preset_sets, "ARMS", ARMS[:2])
    command = ["bench", "transition", "--study", "presets", "--seeds", "1", "--first-seed", "5"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")  # type: ignore[attr-defined]
    assert (tmp_path / written["plot"]).is_file()
    assert "misses" in (tmp_path / "table.md").read_text(encoding="utf-8")
