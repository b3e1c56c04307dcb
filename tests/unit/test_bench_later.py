"""The study of later prompts: where its gate acts, measures of videos whose truth is known, a small run, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from framepack_transitions.benchmarks.later import study, table
from framepack_transitions.benchmarks.later.results import LaterResult
from framepack_transitions.benchmarks.later.study import ARMS, SETTINGS, LaterBench, measure, run
from framepack_transitions.benchmarks.transition.episodes import make_episode
from framepack_transitions.headless.cli import main
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny
from framepack_transitions.tiny.world import Scene, render

SMALL = replace(SETTINGS, window=3, steps=1)
SECTION = SETTINGS.section_frames
PLAIN, GATED = ARMS[0].name, ARMS[3].name


@pytest.fixture(scope="module")
def bundle() -> TinyBundle:
    return load_tiny(weights=Path("nowhere"), layout="original")


def shown(*parts: tuple[Scene, float]) -> np.ndarray:
    """A start frame and a section of each of these scenes, with its subject at a place across."""
    sections = [np.tile(render(scene, x, 32.0) / 255, (SECTION, 1, 1, 1)) for scene, x in parts]
    return np.concatenate([sections[0][:1], *sections])


def still(scene: Scene) -> Scene:
    return replace(scene, motion="still")


class TestMeasures:
    episode = make_episode("colour", 0)

    def measured(self, *parts: tuple[Scene, float]) -> LaterResult:
        old = replace(self.episode, before=still(self.episode.before), after=still(self.episode.after))
        return measure(old, shown(*parts), SETTINGS, key="k", arm=PLAIN, evaluations=36)

    def test_a_switch_where_it_was_asked_for(self) -> None:
        old, new = still(self.episode.before), still(self.episode.after)
        found = self.measured((old, 32.0), (new, 32.0), (new, 32.0))
        assert found.both and found.later == (True, True) and found.artefacts == 0
        assert found.jump == pytest.approx(0, abs=0.5)
        assert LaterResult.from_line(found.to_line()) == found

    def test_a_later_prompt_that_the_start_image_refuses(self) -> None:
        old, new = still(self.episode.before), still(self.episode.after)
        found = self.measured((old, 32.0), (old, 32.0), (new, 32.0))
        assert found.earlier and found.later == (False, True) and not found.both

    def test_an_earlier_scene_that_the_later_one_overruns(self) -> None:
        new = still(self.episode.after)
        found = self.measured((new, 32.0), (new, 42.0), (new, 42.0))
        assert not found.earlier and found.later == (True, True)
        assert found.jump == pytest.approx(10, abs=1)


def result(
    arm: str, case: str, seed: int, earlier: bool, later: bool, jump: float | None = 1.0
) -> LaterResult:
    return LaterResult(
        key="k",
        case=case,
        seed=seed,
        arm=arm,
        earlier=earlier,
        later=(later, True),
        jump=jump,
        artefacts=0.25,
        evaluations=36,
    )


def test_rows_count_all_episodes_and_compare_with_plain(tmp_path: Path) -> None:
    results = [
        result(PLAIN, "colour", 0, True, False),
        result(PLAIN, "cut", 0, True, True, None),
        result(PLAIN, "sham", 0, True, True),
        result(GATED, "colour", 0, True, True, 4.0),
        result(GATED, "cut", 0, False, True, None),
        result(GATED, "sham", 0, True, True),
    ]
    rows = table.rows(results)
    found = {(row["arm"], row["case"]): row for row in rows}
    plain, gated = found[PLAIN, "all"], found[GATED, "all"]
    assert (plain["n"], plain["later"], plain["both"], plain["later_gain"]) == (2, 0.5, 0.5, None)
    assert (gated["later"], gated["earlier"], gated["both"]) == (1.0, 0.5, 0.5)
    assert (gated["later_gain"], gated["both_gain"], gated["jump_gain"]) == (0.5, 0.0, 3.0)
    assert "| colour | cut " in table.table(rows) and "| sham " in table.table(rows)
    assert table.save_plot(tmp_path / "plot.png", rows).stat().st_size > 5000


def test_a_run_goes_on_from_what_is_there(
    tmp_path: Path, bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "CASES", ("colour",))
    bench = LaterBench(folder=tmp_path, seeds=range(1), settings=SMALL)
    results = run(bench, bundle)
    assert [found.arm for found in results] == [arm.name for arm in ARMS]
    assert [found.evaluations for found in results] == [3, 4, 3, 3, 4, 6]
    monkeypatch.setattr(study.LaterSampler, "sample_all", None)
    assert run(bench, bundle) == results


def test_the_command_writes_a_report_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_page: object
) -> None:
    monkeypatch.setattr(study, "CASES", ("colour", "sham"))
    monkeypatch.setattr(study, "LaterBench", partial(LaterBench, settings=SMALL))
    command = ["bench", "transition", "--study", "later", "--layout", "original", "--seeds", "1"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")  # type: ignore[attr-defined]
    assert written["layout"] == written["settings"]["layout"] == "original"
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / written["plot"]).is_file() and "All videos are counted" in text


def test_it_says_which_layout_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "transition", "--study", "later", "--out", str(tmp_path)]) == 1
    assert "The study later samples in layout original; give --layout original." in capsys.readouterr().err
