"""Scripts of other benchmarks as suites: how they are read, run with a workflow, and what their videos amount to."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from framepack_transitions.benchmarks.statistics import grouped_gain_interval
from framepack_transitions.benchmarks.suites.scripts.episodes import Script, script_suite_of
from framepack_transitions.benchmarks.suites.scripts.results import (
    ScriptResult,
    differences,
    pairs_of,
    rows,
    table,
)
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.suites import videos
from framepack_transitions.headless.running.runs import EXAMPLES, PACK
from framepack_transitions.metrics import Metric, Switch, SwitchScores
from framepack_transitions.metrics.results import Verdict, VideoScores
from framepack_transitions.samplers.timeline.syntaxes.table import parse

SKY, CITY, NIGHT = "a large red circle in the sky by day", "an empty city by day", "an empty city at night"
LINES = [
    json.dumps({"prompts": [SKY, CITY, NIGHT]}),
    json.dumps({"prompts": [CITY, NIGHT, SKY], "theme": "x"}),
]


IMAGE = PACK / EXAMPLES / "input" / "framepack_transitions_start.png"


def scripts_of(*lines: str, first: int = 1, segment: float = 2.0) -> tuple[Script, ...]:
    return script_suite_of(Path("few.jsonl"), list(enumerate(lines, first)), IMAGE, segment).episodes


class TestReading:
    def test_every_prompt_gets_the_same_time(self) -> None:
        first, second = scripts_of(*LINES, segment=4.0)
        assert (first.id, second.id, first.seconds, first.image) == ("script-1", "script-2", 12.0, IMAGE.name)
        spans = parse(second.timeline(), sections=10, section_seconds=1.2)
        assert [(span.start, span.text) for span in spans] == [(0.0, CITY), (4.0, NIGHT), (8.0, SKY)]
        assert [(cue.start, cue.prompt) for cue in first.cues()] == [(0.0, SKY), (4.0, CITY), (8.0, NIGHT)]

    def test_marks_of_the_brackets_in_a_prompt_are_no_marks(self) -> None:
        prompts = ["a sign that says [3s: stop]", r"a back\slash"]
        (script,) = scripts_of(json.dumps({"prompts": prompts}))
        assert [span.text for span in parse(script.timeline(), sections=4, section_seconds=1.0)] == prompts

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ('{"prompts": ["a man"]}', "script 7 has a single prompt"),
            ('{"prompts": "a man"}', "script 7 cannot be read: .*prompts is no list of texts"),
            ("a man", "script 7 cannot be read"),
        ],
    )
    def test_what_is_no_script_is_said_with_its_number(self, line: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            scripts_of(line, first=7)

    def test_no_time_is_refused(self) -> None:
        with pytest.raises(ValueError, match="segment is 0"):
            scripts_of(*LINES, segment=0.0)


def switch(success: bool | None, stf: float = 1.0, wait: float = 6.0, gas: float = 0.5) -> SwitchScores:
    def metric(value: float, **more: Any) -> Metric:
        return Metric(value, np.nan, True, **more)

    metrics = {
        "stf": metric(stf),
        "tl90": metric(wait, censored=not success),
        "gas": Metric(np.nan, gas, False),
    }
    asked = Switch(frame=13, requested=0.4, old="a", new="b")
    return SwitchScores(asked, metrics, (), Verdict(success=success))


def result(script: str, arm: str, *switches: SwitchScores) -> ScriptResult:
    scores = VideoScores(
        name="",
        frames=60,
        fps=30.0,
        size=(64, 64),
        features="tiny",
        switches=switches,
        measurements=None,
        guards=(),
        summary={},
    )
    return ScriptResult(script=script, seed=1, arm=arm, scores=scores, evaluations=8, seconds=2.0)


class TestResults:
    results = (
        result("script-1", "plain", switch(False, 0.0, 36.0), switch(True, 1.0, 12.0)),
        result("script-1", "treated", switch(True, 0.8), switch(True, 1.0)),
        result("script-2", "plain", switch(False, 0.2, 36.0, 0.9), switch(None)),
        result("script-2", "treated", switch(True, 0.6, 6.0, 0.4), switch(True)),
    )
    pairs = pairs_of(results, "plain", "treated")
    rows = {(row["technique"], row["case"]): row for row in rows(pairs, results)}

    def test_switches_count_that_are_known_in_both_videos(self) -> None:
        assert [(pair.script, pair.place) for pair in self.pairs] == [
            ("script-1", 1),
            ("script-1", 2),
            ("script-2", 1),
        ]
        assert {case for _, case in self.rows} == {"all", "switch 1", "switch 2"}

    def test_rows_say_what_their_switches_say(self) -> None:
        plain, treated = self.rows["plain", "all"], self.rows["treated", "all"]
        assert (plain["n"], plain["success"], treated["success"]) == (3, pytest.approx(1 / 3), 1.0)
        assert plain["stf"] == pytest.approx(0.4) and treated["stf"] == pytest.approx(0.8)
        assert plain["gas_founding"] == pytest.approx((0.5 + 0.5 + 0.9) / 3)
        # One of three waits ends after 12 frames, and nothing comes of the others within 36.
        assert plain["tl_frames"] == pytest.approx((12 + 36 + 36) / 3) and plain["reached"] == pytest.approx(
            1 / 3
        )
        assert plain["gain"] is None and self.rows["treated", "switch 2"]["gain"] == 0.0

    def test_gains_take_the_switches_of_a_script_together(self) -> None:
        row = self.rows["treated", "all"]
        assert row["gain"] == pytest.approx(2 / 3)
        assert row["gain_ci"] == pytest.approx(grouped_gain_interval([[1, 0], [1]]))
        entries = {(entry["measure"], entry["case"]): entry for entry in differences(self.pairs)}
        assert entries["stf", "all"]["mean"] == pytest.approx((0.8 + 0.0 + 0.4) / 3)
        assert entries["gas_founding", "switch 1"]["mean"] == pytest.approx((0.0 - 0.5) / 2)
        text = table(list(self.rows.values()), list(entries.values()))
        assert "| switch 2 " in text and "gas_founding" in text

    def test_nothing_known_is_no_number(self) -> None:
        unknown = [result("script-1", arm, switch(None)) for arm in ("plain", "treated")]
        (plain, treated) = rows(pairs_of(unknown, "plain", "treated"), unknown)
        assert plain["n"] == 0 and plain["success"] is None and treated["gain"] is None
        assert "| - " in table([plain, treated], [])


@pytest.fixture
def quick(tmp_path: Path) -> list[str]:
    """Arguments for two scripts of three prompts with the embedded model, whose workflow is quick enough for a test."""
    examples = PACK / EXAMPLES
    graph = json.loads((examples / "api" / "tiny_bench.json").read_text(encoding="utf-8"))
    graph["5"]["inputs"]["window"] = 3
    graph["9"]["inputs"].update(window=3, steps=1, measure_memory=False)
    (tmp_path / "quick.json").write_text(json.dumps(graph), encoding="utf-8")
    (tmp_path / "few.jsonl").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    given = ["--workflow", str(tmp_path / "quick.json"), "--segment", "0.4", "--features", "tiny"]
    return [*given, "--out", str(tmp_path / "out")]


def test_scripts_are_run_scored_and_gone_on_with(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_page: ModuleType
) -> None:
    command = ["bench", "transition", "--suite", str(tmp_path / "few.jsonl"), *quick]
    assert main(command) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    report_page.check(report, "suite")
    assert (report["suite"], report["features"], report["seeds"]) == ("few.jsonl", "tiny", 1)
    assert [(entry["episode"], entry["arm"]) for entry in report["episodes"]] == [
        (f"script-{number}", arm) for number in (1, 2) for arm in ("plain", "treated")
    ]
    # A section of window 3 is 12 frames, 0.4 s: each prompt has one.
    assert [[found["frame"] for found in switches] for switches in report["switches"]] == [[13, 25]] * 4
    assert [video["frames"] for video in report["videos"]] == [37] * 4
    # Three sections of one step, and in two of them guidance asks a second time.
    assert [entry["evaluations"] for entry in report["episodes"]] == [3, 5] * 2
    assert any("no scores of the benchmark" in remark for remark in report["remarks"])
    assert (tmp_path / "out" / "table.md").is_file()

    made: list[str] = []
    monkeypatch.setattr(videos.VideoMaker, "_make", lambda maker, video, *where: made.append(video.name))
    assert main(["bench", "transition", "--suite", f"{tmp_path / 'few.jsonl'}#2", *quick]) == 0
    assert not made
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert {entry["episode"] for entry in report["episodes"]} == {"script-2"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--suite", "none.jsonl"], "none.jsonl does not exist"),
        (["--suite", "{few}#9"], "few.jsonl holds 2 scripts, counted from 1, not number 9"),
        (["--suite", "{few}", "--rate"], "--rate is for suites"),
        (["--suite", "{few}", "--segment", "-1"], "Segment is -1"),
        (["--suite", "{few}", "--image", "none.png"], "none.png does not exist"),
        (["--suite", "tiny", "--segment", "3"], "--segment belongs to scripts"),
        (["--suite", "tiny", "--image", "a.png"], "--image belongs to scripts"),
        (["--segment", "3"], "--segment belongs to --suite"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    given: list[str], reason: str, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [part.format(few=tmp_path / "few.jsonl") for part in given]
    assert main(["bench", "transition", *given, "--features", "tiny", "--out", str(tmp_path / "out")]) == 1
    assert reason in capsys.readouterr().err
