"""The results of a sweep as one table, one contact sheet and one plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from ....benchmarks.transition.pictures import markdown
from ....metrics.scoring.registry import METRICS
from ..contact_sheet import Row, save_sheet
from .grid import Axis
from .results import CALLS, SECONDS, Result

TABLE, SHEET, PLOT = "table.md", "contact_sheet.png", "sweep.png"
MEASURES = (*(spec.name for spec in METRICS), CALLS, SECONDS)
TITLES = {spec.name: f"{spec.label}{', frames' * spec.is_wait}" for spec in METRICS}
DIGITS = {**{spec.name: 1 if spec.is_wait else 2 for spec in METRICS}, CALLS: 0, SECONDS: 1}
COLUMNS, LEAST_HEIGHT = 2, 0.1  # of the plot; and of a panel, so that what hardly differs looks alike
MOST_LETTERS = 30  # of a value below a panel


def measured(results: Sequence[Result]) -> list[str]:
    """The measures that are known of any result, in the order in which they are shown."""
    return [name for name in MEASURES if any(name in result.measures for result in results)]


def table(results: Sequence[Result], axes: Sequence[Axis]) -> str:
    """A line for every result: its values, its measures, and what must be known of it."""
    names = measured(results)
    several = len({result.run for result in results}) < len(results)
    return markdown([_line(result, axes, names, several) for result in results])


def _line(result: Result, axes: Sequence[Axis], names: Sequence[str], several: bool) -> dict[str, str]:
    return {
        **{axis.name: _cell(result.run.unit.values[axis.name]) for axis in axes},
        **({"file": result.file} if several else {}),
        **{
            name: f"{result.measures[name]:.{DIGITS[name]}f}" if name in result.measures else "-"
            for name in names
        },
        "remarks": _cell(
            "; ".join(filter(None, [result.remark, *(f"guard {guard} fails" for guard in result.failing)]))
        ),
    }


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def save_contact_sheet(path: Path, results: Sequence[Result]) -> bool:
    """Draws a row of frames for every result; returns whether there was any to draw."""
    rows = [_row(result) for result in results if result.thumbnails]
    if rows:
        save_sheet(path, rows)
    return bool(rows)


def _row(result: Result) -> Row:
    numbers = sorted(result.thumbnails)
    frames = np.stack([result.thumbnails[number] for number in numbers])
    return Row(
        result.run.unit.label,
        torch.from_numpy(frames).float() / 255,
        result.borders,
        result.switch,
        numbers=numbers,
    )


def save_plot(path: Path, results: Sequence[Result], axes: Sequence[Axis]) -> bool:
    """Draws every measure over the values of the first axis; returns whether there was any to draw.

    Each combination of the other axes is a line. Axes of seeds are averaged over, and their results shown as points.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = measured(results)
    if not names:
        return False
    drawn = [axis for axis in axes if not axis.is_seed] or list(axes[:1])
    lines = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(6 * COLUMNS, 2.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, name in zip(figure.subplots(lines, COLUMNS, squeeze=False).flat, names):
        _draw(panel, [result for result in results if name in result.measures], name, drawn)
    for panel in figure.axes[len(names) :]:
        panel.remove()
    if len(drawn) > 1:
        figure.axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=100)
    return True


def _draw(panel: Any, results: Sequence[Result], name: str, axes: Sequence[Axis]) -> None:
    """One measure over the first axis."""
    numbers = _numbers(axes[0].values)
    places = dict(zip(axes[0].values, numbers or range(len(axes[0].values))))
    for number, (label, own) in enumerate(_by_line(results, axes[1:]).items()):
        points = [(places[result.run.unit.values[axes[0].name]], result.measures[name]) for result in own]
        means = {place: fmean(value for at, value in points if at == place) for place, _ in sorted(points)}
        style = "-" if numbers else "none"  # between words there is nothing
        panel.plot(*zip(*means.items()), linestyle=style, marker="_", markersize=14, color=f"C{number % 10}")
        panel.plot(*zip(*points), "o", color=f"C{number % 10}", alpha=0.6, markersize=4, label=label)
    if not numbers:
        panel.set_xticks(list(places.values()), [_cell(value)[:MOST_LETTERS] for value in places])
    panel.set_title(TITLES.get(name, name), fontsize="medium")
    panel.set_xlabel(axes[0].name, fontsize="small")
    low, high = panel.get_ylim()
    more = max(LEAST_HEIGHT - (high - low), 0) / 2
    panel.set_ylim(low - more, high + more)


def _by_line(results: Sequence[Result], axes: Sequence[Axis]) -> Mapping[str, list[Result]]:
    """The results by their values of these axes, in words."""
    lines: dict[str, list[Result]] = {}
    for result in results:
        words = (f"{axis.name}={_cell(result.run.unit.values[axis.name])}" for axis in axes)
        lines.setdefault(", ".join(words), []).append(result)
    return lines


def _numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers; None where one is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None
