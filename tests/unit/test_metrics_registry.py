"""A metric is one file and one row of the table: everything else follows, or a test here says what is missing."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import framepack_transitions
import numpy as np
import pytest
from framepack_transitions import metrics
from framepack_transitions.metrics.reporting import plot_curves, plot_table, report
from framepack_transitions.metrics.reporting.plot import plot_scores
from framepack_transitions.metrics.results import Metric
from framepack_transitions.metrics.scoring import switch_scores
from framepack_transitions.metrics.scoring.registry import METRICS, Mark, MetricSpec

ROOT = Path(framepack_transitions.__file__).resolve().parent
USERS = (report, plot_curves, plot_table, switch_scores)
HELP_PAGES = ("web/docs/FramePackTransitionEvaluator.md", "web/docs/FramePackTransitionEvaluator/ja.md")
REPORT_PAGES = ("docs/REPORT.md", "docs/ja/REPORT.md")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.key)
def test_the_page_for_users_has_a_section_that_says_what_the_row_says(spec: MetricSpec) -> None:
    sections = re.split(r"^### ", page("docs/METRICS.md"), flags=re.MULTILINE)
    found = [plain(section) for section in sections if section.startswith(f"{spec.name}\n")]
    assert found, f"docs/METRICS.md needs a section `### {spec.name}`"
    for words in (
        "- Formula: ",
        f"- Looks at: {spec.window}.",
        f"- Needs: {spec.needs}.",
        f"- Founding: {spec.founding}.",
        f"{spec.better.capitalize()} is good",
    ):
        assert words in found[0], f"docs/METRICS.md, section {spec.name}: write {words!r}, as the table does"
    anchor = f"[{spec.name}](#{spec.name.lower()})"
    assert anchor in page("docs/METRICS.md"), f"docs/METRICS.md, `Which one to look at`: link {anchor}"


@pytest.mark.parametrize("name", REPORT_PAGES)
def test_the_page_about_the_report_lists_all_keys_in_their_order(name: str) -> None:
    keys = [spec.key for spec in METRICS]
    listed = re.search(r"\W+(?:and\W+)?".join(keys), page(name))
    assert listed, f"{name}: list the metrics of a switch as {', '.join(keys)}"


def test_the_glossary_names_every_metric() -> None:
    glossary = page("docs/GLOSSARY.md")
    missing = [spec.name for spec in METRICS if spec.name not in glossary]
    assert not missing, f"docs/GLOSSARY.md: explain {missing}"


@pytest.mark.parametrize("name", HELP_PAGES)
def test_the_help_pages_explain_every_metric_that_is_always_shown(name: str) -> None:
    shown = [spec.name.rstrip("0123456789") for spec in METRICS if not spec.on_demand]
    missing = [metric for metric in shown if metric not in page(name)]
    assert not missing, f"{name}: explain {missing}"


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.key)
def test_a_metric_is_computed_from_others_of_the_table(spec: MetricSpec) -> None:
    assert set(spec.after) < {other.key for other in METRICS}
    module = getattr(spec.compute, "func", spec.compute).__module__
    assert module.startswith(f"{metrics.__name__}.definitions."), "one file a metric, in metrics/definitions/"


@pytest.fixture
def further(monkeypatch: pytest.MonkeyPatch) -> MetricSpec:
    """A row for a made-up metric: how bright the frame of the switch is."""

    def compute(evidence: Any, fidelity: Metric) -> Metric:
        brightness = evidence.measured.brightness
        value = float(brightness[evidence.switch.frame])
        return Metric(
            value=value, founding=np.nan, valid=True, curve=brightness, details={"stf": fidelity.value}
        )

    spec = MetricSpec(
        key="light",
        name="LIGHT",
        meaning="how bright",
        compute=compute,
        after=("stf",),
        better="high",
        window="the frame of the switch",
        needs="nothing",
        founding="none",
        curve="Light of the frames",
        mark=Mark("light", 0.5, "s"),
    )
    for user in USERS:
        monkeypatch.setattr(user, "METRICS", (*METRICS, spec))
    monkeypatch.setattr(switch_scores, "BY_KEY", {**switch_scores.BY_KEY, spec.key: spec})
    return spec


def test_scores_report_plot_and_averages_follow_a_further_row(
    further: MetricSpec, metric_videos: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (np.full((16, 16, 3), level, np.float32) for level in (0.25, 0.75))
    film = metric_videos.mixed(old, new, metric_videos.shares(90, 30, "cut"))
    cues = [metrics.Cue(start=0, prompt="old"), metrics.Cue(start=1, prompt="new")]
    reader = metric_videos.SceneReader({"old": old, "new": new})
    scores = metrics.evaluate_video(film, cues, extractor=reader)
    found = scores.switches[0].metrics["light"]
    assert found.value == pytest.approx(0.75)
    assert found.details["stf"] == scores.switches[0].metrics["stf"].value
    assert scores.summary["light"] == pytest.approx(0.75)
    entry = report.report_part([scores])
    assert list(entry["switches"][0]["metrics"])[-1] == "light"
    assert entry["evaluation"][0]["curves"]["light_1"][0] == pytest.approx(0.25)
    assert "LIGHT, how bright (high is good)" in report.text_table([scores])
    with_panel = plot_scores([scores])
    monkeypatch.undo()
    assert len(with_panel) > len(plot_scores([scores]))
