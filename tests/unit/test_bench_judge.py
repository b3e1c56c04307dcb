"""The study that compares verdicts with the truth: rendered switches, its confusion table by hand, and one small run."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from framepack_transitions.benchmarks.agreement import confusion, judge
from framepack_transitions.benchmarks.agreement.judge import JudgedEpisode, RememberedTexts
from framepack_transitions.benchmarks.statistics import share_interval
from framepack_transitions.benchmarks.transition.arms import PLAIN
from framepack_transitions.benchmarks.transition.bench import Bench
from framepack_transitions.benchmarks.transition.episodes import make_episode
from framepack_transitions.benchmarks.transition.measures import Measures
from framepack_transitions.benchmarks.transition.running.recording import VIDEOS
from framepack_transitions.benchmarks.transition.running.results import Result
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.studies import judging, measuring
from framepack_transitions.nodes.evaluation.models import EvaluationModels, tiny_extractor
from framepack_transitions.tiny.world import Mover, draw

HALF_SECOND, SECTION = 15, 36


@cache
def models() -> EvaluationModels:
    return EvaluationModels(extractor=tiny_extractor())


def verdict_on(folder: Path, case: str, shown: str) -> JudgedEpisode:
    """The verdict on a rendered video that shows after the switch the scene "before" or "after"."""
    episode = make_episode(case, 3)
    way = Mover.start(np.random.default_rng(0), episode.before if episode.before.subject else episode.after)
    positions = way.travel(HALF_SECOND + SECTION)
    before, after = (
        draw([(0, scene)], part)
        for scene, part in (
            (episode.before, positions[:HALF_SECOND]),
            (getattr(episode, shown), positions[HALF_SECOND:]),
        )
    )
    (folder / VIDEOS).mkdir(parents=True, exist_ok=True)
    np.savez(folder / VIDEOS / "key.npz", before=before, after=after)
    success = shown == "after" or case == "sham"
    measures = Measures(
        success=success,
        held=(success,),
        latency=0,
        remaining=0,
        jump=None,
        jump_before=None,
        jump_after=None,
        artefacts=0,
    )
    result = Result(
        key="key", case=case, seed=3, arm="plain", valid=True, measures=measures, evaluations=1, seconds=0.0
    )
    return judge.judge(result, folder, models())


@pytest.mark.parametrize("case", ["disappear", "colour", "background", "cut"])
def test_rendered_switches_are_judged_by_what_they_show(tmp_path: Path, case: str) -> None:
    for shown in ("before", "after"):
        found = verdict_on(tmp_path, case, shown)
        assert found.success is found.succeeds is (shown == "after"), (case, shown, found.share)


def test_a_sham_succeeds_where_the_scene_stays(tmp_path: Path) -> None:
    found = verdict_on(tmp_path, "sham", "before")
    assert found.success and found.share is not None and found.share > 0.5


def test_each_text_is_read_once() -> None:
    class Counting:
        name = "counting"
        read: list[str] = []

        def texts(self, texts: Any) -> np.ndarray:
            self.read.extend(texts)
            return np.array([[float(len(text))] for text in texts])

    reading = RememberedTexts(Counting())
    assert reading.name == "counting"
    assert reading.texts(["a", "bb"]).tolist() == [[1], [2]]
    assert reading.texts(["bb", "ccc", "bb"]).tolist() == [[2], [3], [2]]
    assert Counting.read == ["a", "bb", "ccc"]


def judged(
    case: str, seed: int, succeeds: bool, success: bool | None, share: float | None, clear: bool = True
) -> JudgedEpisode:
    return JudgedEpisode(
        case=case, seed=seed, arm="plain", succeeds=succeeds, success=success, share=share, clear=clear
    )


EPISODES = [
    judged("colour", 0, True, True, 0.9),
    judged("colour", 1, True, False, 0.4),
    judged("colour", 2, False, True, 0.6, clear=False),
    judged("cut", 0, False, False, 0.1),
    judged("cut", 1, False, None, None),
    judged("sham", 0, True, True, 0.8),
]


def test_the_confusion_table_counts_verdicts_on_successes_and_on_failures() -> None:
    rows = {row["case"]: row for row in confusion.confusion(EPISODES)}
    assert list(rows) == ["all", "all, drawn clearly", "all, drawn unclearly", "colour", "cut", "sham"]
    pooled = rows["all"]
    assert (pooled["n"], pooled["successes"], pooled["failures"], pooled["unknown"]) == (5, 2, 2, 1)
    assert (pooled["hits"], pooled["false_successes"]) == (1, 1)
    assert pooled["false_successes_ci"] == pytest.approx(share_interval(1, 2))
    # Of the four pairs of a success and a failure, 0.4 against 0.6 alone is out of order.
    assert pooled["auc"] == pytest.approx(3 / 4)
    clear, unclear = rows["all, drawn clearly"], rows["all, drawn unclearly"]
    assert (clear["successes"], clear["failures"], clear["false_successes"], clear["auc"]) == (2, 1, 0, 1)
    assert (unclear["successes"], unclear["failures"], unclear["false_successes"]) == (0, 1, 1)
    assert rows["sham"]["auc"] is None and rows["sham"]["false_successes_share"] is None


def test_the_table_says_whether_the_goals_are_met() -> None:
    text = confusion.table(confusion.confusion(EPISODES))
    assert "1, 0.50 [0.01, 0.99]" in text
    assert "Goal, all: AUC of at least 0.97: missed." in text
    assert "Goal, all: at most 8% of failures called a success: missed." in text
    assert "Goal, all, drawn clearly: AUC of at least 0.97: met." in text
    good = [judged("cut", seed, seed % 2 == 0, seed % 2 == 0, float(seed % 2 == 0)) for seed in range(6)]
    assert confusion.table(confusion.confusion(good)).count("met.") == 4


def test_the_command_writes_verdicts_table_and_plot(tmp_path, monkeypatch, capsys, report_page) -> None:
    def small(folder: Path, seeds: range) -> Bench:
        return Bench(
            folder=folder / "generated",
            seeds=1,
            first_seed=seeds.start,
            settings=BenchSettings(steps=1, before=1, after=1),
            arms=(PLAIN,),
            cases=("colour",),
            keeps_videos=True,
        )

    monkeypatch.setattr(judging.judge, "bench", small)
    monkeypatch.setattr(measuring, "available_cores", lambda: 1)
    arguments = ["bench", "transition", "--study", "judge", "--features", "tiny", "--seeds", "1"]
    assert main([*arguments, "--first-seed", "40", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(report, "study")
    assert report["features"] == "tiny" and report["first_seed"] == 40
    assert (tmp_path / report["clips"]).is_file() and (tmp_path / report["plot"]).is_file()


def test_features_are_for_the_study_that_judges(tmp_path, capsys) -> None:
    assert main(["bench", "transition", "--features", "tiny", "--out", str(tmp_path)]) == 1
    assert "--features belongs to --suite or to --study judge" in capsys.readouterr().err
