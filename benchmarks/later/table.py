"""Rows, table and plot of the study of later prompts: how often each side of a switch shows its scene, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from .. import statistics
from ..transition.dots import draw_shares
from ..transition.episodes import SWITCHES
from ..transition.pictures import jump_over_plain, markdown, number, percent, signed_share, with_interval
from ..transition.summary import POOLED, counted_share, paired
from .results import LaterResult
from .study import ARMS, CASES

MEASURES = {"later": "later scene after the switch", "earlier": "earlier scene before it"}

Row = Mapping[str, Any]
Episodes = Mapping[tuple[str, int], LaterResult]


def rows(results: Sequence[LaterResult]) -> list[dict[str, Any]]:
    """One row an arm and case and, pooled over the switches, each arm."""
    found = []
    for arm in ARMS:
        for case, cases in {POOLED: SWITCHES, **{case: (case,) for case in CASES}}.items():
            mine, plain = (_of(results, name, cases) for name in (arm.name, ARMS[0].name))
            if mine:
                found.append({"arm": arm.name, "case": case, **_row(mine, plain)})
    return found


def _of(results: Sequence[LaterResult], arm: str, cases: Sequence[str]) -> Episodes:
    return {(r.case, r.seed): r for r in results if r.arm == arm and r.case in cases}


def _row(mine: Episodes, plain: Episodes) -> dict[str, Any]:
    every, pairs = list(mine.values()), [(result, plain[key]) for key, result in mine.items()]
    return {
        "n": len(every),
        **counted_share("later", every, lambda result: result.later[0]),
        **paired("later_gain", statistics.gain_interval, pairs, lambda result: float(result.later[0])),
        **counted_share("lasting", every, lambda result: result.later[-1]),
        **counted_share("earlier", every, lambda result: result.earlier),
        **counted_share("both", every, lambda result: result.both),
        **paired("both_gain", statistics.gain_interval, pairs, lambda result: float(result.both)),
        **paired("jump_gain", statistics.mean_interval, pairs, lambda result: result.jump),
        "artefacts": fmean(result.artefacts for result in every),
        "evaluations": fmean(result.evaluations for result in every),
    }


def table(rows: Sequence[Row]) -> str:
    """Every arm over all switches and at shams, and how often the later scene is there at each kind of switch."""
    by_key = {(row["arm"], row["case"]): row for row in rows}
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    cases = [case for case in CASES if any(row["case"] == case for row in rows)]
    kinds = [
        {"later scene after the switch": arm, **{case: percent(by_key[arm, case]["later"]) for case in cases}}
        for arm in arms
    ]
    return f"{markdown([_cells(row) for row in rows if row['case'] in (POOLED, 'sham')])}\n{markdown(kinds)}"


def _cells(row: Row) -> dict[str, str]:
    return {
        "switch": row["case"],
        "arm": row["arm"],
        "n": str(row["n"]),
        "later scene": with_interval(row, "later"),
        "gain": with_interval(row, "later_gain", signed_share),
        "at the end": with_interval(row, "lasting"),
        "earlier scene": with_interval(row, "earlier"),
        "both": with_interval(row, "both"),
        "gain of both": with_interval(row, "both_gain", signed_share),
        "jump over plain (n)": jump_over_plain(row),
        "artefacts": percent(row["artefacts"]),
        "calls": number(row["evaluations"]),
    }


def save_plot(path: Path, rows: Sequence[Row]) -> Path:
    """Draw for every arm how often each side of the switches shows its scene."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes, shown = figure.subplots(), [row for row in rows if row["case"] == POOLED]
    draw_shares(axes, shown, MEASURES, [row["arm"] for row in shown])
    axes.set_title("layout original, all switches (95 % intervals)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=100)
    return path
