"""Rows, table and plot of the study of landing: how often a switch has come when it was asked for, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from .. import statistics
from ..transition.dots import draw_shares
from ..transition.episodes import SWITCHES
from ..transition.pictures import jump_over_plain, markdown, number, percent, with_interval
from ..transition.summary import counted_share, paired
from .results import LandingResult
from .study import ARMS

# What changes a part of the picture, and what changes all of it.
SCENE_WIDE = ("background", "cut")
GROUPS = {
    "local": tuple(case for case in SWITCHES if case not in SCENE_WIDE),
    "scene-wide": SCENE_WIDE,
    "sham": ("sham",),
}
HALVES = {"before": "old scene until then", "after": "new scene from then on"}

Row = Mapping[str, Any]
Episodes = Mapping[tuple[str, int], LandingResult]


def rows(results: Sequence[LandingResult]) -> list[dict[str, Any]]:
    """One row an arm and group of cases; only episodes that were right before the section count."""
    found = []
    for arm in ARMS:
        for group, cases in GROUPS.items():
            mine, plain = (_of(results, name, cases) for name in (arm.name, ARMS[0].name))
            if mine:
                found.append({"arm": arm.name, "group": group, **_row(mine, plain)})
    return found


def table(rows: Sequence[Row]) -> str:
    """Every arm and group with what it gets right, and what it costs."""
    return markdown(
        [
            {
                "switch": row["group"],
                "arm": row["arm"],
                "n": str(row["n"]),
                "old until then": with_interval(row, "before"),
                "new from then on": with_interval(row, "after"),
                "both": with_interval(row, "both"),
                "lost by the end": with_interval(row, "relapse"),
                "jump over plain": jump_over_plain(row),
                "artefacts": percent(row["artefacts"]),
                "evaluations": number(row["evaluations"]),
            }
            for row in sorted(rows, key=lambda row: list(GROUPS).index(row["group"]))
        ]
    )


def _of(results: Sequence[LandingResult], arm: str, cases: Sequence[str]) -> Episodes:
    return {
        (result.case, result.seed): result
        for result in results
        if result.arm == arm and result.case in cases and result.valid
    }


def _row(mine: Episodes, plain: Episodes) -> dict[str, Any]:
    every, pairs = list(mine.values()), [(result, plain[key]) for key, result in mine.items()]
    changed = [result for result in every if result.after]
    return {
        "n": len(every),
        **counted_share("before", every, lambda result: result.before),
        **counted_share("after", every, lambda result: result.after),
        **counted_share("both", every, lambda result: result.both),
        **counted_share("relapse", changed, lambda result: not result.lasting),
        **paired("jump_gain", statistics.mean_interval, pairs, lambda result: result.jump),
        "artefacts": fmean(result.artefacts for result in every),
        "evaluations": fmean(result.evaluations for result in every),
    }


def save_plot(path: Path, rows: Sequence[Row]) -> Path:
    """Draw for every arm how often each half is right, a picture for each group of cases."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    names = [arm.name for arm in ARMS]
    for axes, group in zip(figure.subplots(1, len(GROUPS), sharey=True), GROUPS):
        draw_shares(axes, [row for row in rows if row["group"] == group], HALVES, names)
        axes.set_title(group)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=100)
    return path
