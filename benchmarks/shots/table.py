"""Rows, table and plot of the study of shots: how often a subject or a scene is taken over, and what else comes along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ..transition.dots import draw_shares
from ..transition.pictures import markdown, number, with_interval
from ..transition.summary import counted_share
from .episodes import CASES, LENGTHS
from .results import ShotResult, Shown
from .sampling import ARMS

# What is counted in every section, and what the plot calls it.
MEASURES = {"subject": "subject, shape and colour", "place": "place and time", "left": "place that was left"}

Row = Mapping[str, Any]


def rows(results: Sequence[ShotResult]) -> list[dict[str, Any]]:
    """One row a case, arm and section; only episodes that showed the first scene count."""
    found = []
    for case in CASES:
        for arm in ARMS[case]:
            mine = [r for r in results if (r.case, r.arm, r.valid) == (case, arm.name, True)]
            if mine:
                found += [_row(case, arm.name, mine, section) for section in range(LENGTHS[case][-1])]
    return found


def _row(case: str, arm: str, results: Sequence[ShotResult], section: int) -> dict[str, Any]:
    def shown(result: ShotResult) -> Shown:
        return result.sections[section]

    away = [result.away for result in results if result.away is not None and section == 0]
    return {
        "case": case,
        "arm": arm,
        "section": section + 1,
        "n": len(results),
        **counted_share("met", results, lambda result: result.met),
        **counted_share("subject", results, lambda result: shown(result).subject),
        **counted_share("moved", [r for r in results if r.moves], lambda result: shown(result).subject),
        **counted_share("stood", [r for r in results if not r.moves], lambda result: shown(result).subject),
        **counted_share("size", results, lambda result: shown(result).size),
        **counted_share("other", results, lambda result: shown(result).other),
        **counted_share("place", results, lambda result: shown(result).place),
        **counted_share("left", results, lambda result: shown(result).left),
        "away": median(away) if away else None,
        "evaluations": fmean(result.evaluations for result in results),
    }


def table(rows: Sequence[Row]) -> str:
    """Every case, arm and section with what is seen of the first scene, of the other one, and what it costs."""
    return markdown(
        [
            {
                "last prompt": row["case"],
                "arm": row["arm"],
                "section": str(row["section"]),
                "n": str(row["n"]),
                "scene left was there": with_interval(row, "met"),
                "first subject": with_interval(row, "subject"),
                "where it had moved": with_interval(row, "moved"),
                "where it had stood": with_interval(row, "stood"),
                "its size too": with_interval(row, "size"),
                "other subject": with_interval(row, "other"),
                "place asked for": with_interval(row, "place"),
                "place left": with_interval(row, "left"),
                "px away": number(row["away"]),
                "calls": number(row["evaluations"]),
            }
            for row in rows
        ]
    )


def save_plot(path: Path, rows: Sequence[Row]) -> Path:
    """Draw what the last prompt's first section shows under every arm, a picture for each case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    first = [row for row in rows if row["section"] == 1]
    for axes, case in zip(figure.subplots(2, 2, sharex=True).flat, CASES):
        mine = [row for row in first if row["case"] == case]
        draw_shares(axes, mine, MEASURES, [row["arm"] for row in mine])
        axes.set_title(f"last prompt: {case}")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=100)
    return path
