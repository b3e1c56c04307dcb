"""Rows, table and plot of the study of drift: by how much colours move from section to section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ...samplers.context.colour_anchor import SETTLED
from .. import statistics
from ..transition.pictures import markdown, percent, signed_share, with_interval
from ..transition.summary import paired, share
from .results import DriftResult

Row = Mapping[str, Any]
CURVES = ("saturation", "brightness")


def slope(curve: Sequence[float]) -> float:
    """By how many percent of its value in the settled section a curve rises from one section to the next, by least squares.

    The sections before the settled one, on whose colours the anchor goes by, are left out.
    """
    settled = np.asarray(curve[SETTLED - 1 :])
    return float(100 * np.polyfit(range(len(settled)), settled, 1)[0] / max(settled[0], 1e-9))


def rows(results: Sequence[DriftResult]) -> list[dict[str, Any]]:
    """One row an arm: the slopes of saturation and brightness, in how many videos the scene is kept, and in how many it is left.

    What differs from the first arm is told video by video.
    """
    arms = list(dict.fromkeys(result.arm for result in results))
    by_seed = {arm: {result.seed: result for result in results if result.arm == arm} for arm in arms}
    return [_row(arm, by_seed[arm], by_seed[arms[0]]) for arm in arms]


def _row(arm: str, mine: Mapping[int, DriftResult], plain: Mapping[int, DriftResult]) -> dict[str, Any]:
    results, pairs = list(mine.values()), [(result, plain[seed]) for seed, result in mine.items()]
    row: dict[str, Any] = {"arm": arm, "n": len(results)}
    for name in CURVES:
        of = partial(_slope_of, name)
        row |= paired(f"{name}_gain", statistics.mean_interval, pairs, of)
        slopes = [of(result) for result in results]
        row |= {name: fmean(slopes), f"{name}_ci": statistics.ends_of(statistics.mean_interval, slopes)}
        row[f"{name}_over_time"] = np.mean([getattr(result, name) for result in results], axis=0).tolist()
    row |= share("kept", results, lambda result: result.kept)
    row |= share("switched", results, lambda result: result.switched)
    row |= paired("switched_gain", statistics.gain_interval, pairs, lambda result: float(result.switched))
    return row | {"evaluations": fmean(result.evaluations for result in results)}


def _slope_of(name: str, result: DriftResult) -> float:
    return slope(getattr(result, name))


def table(rows: Sequence[Row]) -> str:
    """Every arm with both slopes, in percent a section."""
    return markdown(
        [
            {
                "arm": row["arm"],
                "n": str(row["n"]),
                "saturation, % a section": with_interval(row, "saturation", signed_share),
                "saturation over plain": with_interval(row, "saturation_gain", signed_share),
                "brightness, % a section": with_interval(row, "brightness", signed_share),
                "brightness over plain": with_interval(row, "brightness_gain", signed_share),
                "scene kept": with_interval(row, "kept"),
                "switch at the end": with_interval(row, "switched"),
                "switches over plain": with_interval(row, "switched_gain", signed_share),
                "saturation, first to last section": _ends(row["saturation_over_time"]),
                "evaluations": f"{row['evaluations']:.1f}",
            }
            for row in rows
        ]
    )


def _ends(curve: Sequence[float]) -> str:
    return f"{percent(curve[0])} to {percent(curve[-1])}"


def save_plot(path: Path, rows: Sequence[Row]) -> Path:
    """Draw the mean saturation and brightness of every section."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, 2), CURVES):
        for row in rows:
            curve = row[f"{name}_over_time"]
            axes.plot(range(1, len(curve) + 1), curve, marker="o", label=row["arm"])
        axes.set(title=name, xlabel="section")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=100)
    return path
