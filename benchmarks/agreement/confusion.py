"""How often verdicts are true: the confusion table of judged episodes, with what was aimed at, and its plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import statistics
from ..transition.episodes import SWITCHES
from ..transition.pictures import markdown, percent
from ..transition.summary import POOLED
from .judge import CASES, JudgedEpisode

AUC_GOAL, MOST_FALSE = 0.97, 0.08
CLEAR = f"{POOLED}, drawn clearly"
DRAWN = {CLEAR: True, f"{POOLED}, drawn unclearly": False}
COLOURS = {True: "C2", False: "C3"}
JITTER_SEED = 0


def confusion(judged: Sequence[JudgedEpisode]) -> list[dict[str, Any]]:
    """A row for all cases with a change, two for those that are drawn clearly and for the others, and one for each case.

    They count verdicts on true successes and on true failures. Intervals take the episodes of one case and seed together, which
    share their past. Episodes without a verdict are counted apart.
    """
    pooled = [one for one in judged if one.case in SWITCHES]
    drawn = {name: [one for one in pooled if one.clear is clear] for name, clear in DRAWN.items()}
    groups = {POOLED: pooled, **drawn} | {case: [one for one in judged if one.case == case] for case in CASES}
    return [_row(case, group) for case, group in groups.items() if group]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table, and below it whether the goals are met."""
    lines = [
        {
            "case": row["case"],
            "succeeded": str(row["successes"]),
            "called success": _share(row, "hits"),
            "failed": str(row["failures"]),
            "called success, wrongly": _share(row, "false_successes"),
            "AUC": "-" if row["auc"] is None else f"{row['auc']:.3f}",
            "no verdict": str(row["unknown"]),
        }
        for row in rows
    ]
    goals = [line for row in rows if row["case"] in (POOLED, CLEAR) for line in _goals(row)]
    return "\n".join([markdown(lines), *goals, ""])


def save_plot(path: Path, judged: Sequence[JudgedEpisode]) -> Path:
    """Draw the share of every episode by case, green where the switch truly succeeded; the verdict is success from a half on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure, rng = Figure(figsize=(10, 6), layout="constrained"), np.random.default_rng(JITTER_SEED)
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for place, case in enumerate(CASES):
        for truth, colour in COLOURS.items():
            shares = [
                one.share
                for one in judged
                if one.case == case and one.succeeds is truth and one.share is not None
            ]
            rows = place + rng.uniform(-0.35, 0.35, len(shares))
            axis.scatter(shares, rows, s=10, color=colour, alpha=0.6, linewidths=0)
    axis.axvline(0.5, color="0.5", linewidth=1)
    axis.set_yticks(range(len(CASES)), CASES)
    axis.invert_yaxis()
    axis.set(title="Verdicts (green: truly succeeded)", xlabel="share of the state that should be seen")
    figure.savefig(path, dpi=90)
    return path


def _row(case: str, group: Sequence[JudgedEpisode]) -> dict[str, Any]:
    known = [one for one in group if one.success is not None]
    true, false = ([one for one in known if one.succeeds is truth] for truth in (True, False))
    area = statistics.auc(*([one.share for one in part if one.share is not None] for part in (true, false)))
    return {
        "case": case,
        "n": len(group),
        "successes": len(true),
        **_called_success("hits", true),
        "failures": len(false),
        **_called_success("false_successes", false),
        "auc": None if np.isnan(area) else area,
        "unknown": len(group) - len(known),
    }


def _called_success(name: str, group: Iterable[JudgedEpisode]) -> dict[str, Any]:
    """How many episodes are called a success, their share, and its interval."""
    by_past: dict[tuple[str, int], list[bool]] = {}
    for one in group:
        by_past.setdefault((one.case, one.seed), []).append(bool(one.success))
    calls = [call for past in by_past.values() for call in past]
    return {
        name: sum(calls),
        f"{name}_share": sum(calls) / len(calls) if calls else None,
        f"{name}_ci": list(statistics.grouped_share_interval(list(by_past.values()))) if calls else None,
    }


def _share(row: dict[str, Any], name: str) -> str:
    if row[f"{name}_share"] is None:
        return "-"
    low, high = row[f"{name}_ci"]
    return f"{row[name]}, {percent(row[f'{name}_share'])} [{percent(low)}, {percent(high)}]"


def _goals(row: dict[str, Any]) -> list[str]:
    wrong, area = row["false_successes_share"], row["auc"]
    ranks = _met(None if area is None else area >= AUC_GOAL)
    calls = _met(None if wrong is None else wrong <= MOST_FALSE)
    return [
        f"Goal, {row['case']}: AUC of at least {AUC_GOAL:g}: {ranks}.",
        f"Goal, {row['case']}: at most {MOST_FALSE:.0%} of failures called a success: {calls}.",
    ]


def _met(met: bool | None) -> str:
    return {None: "not known", True: "met", False: "missed"}[met]
