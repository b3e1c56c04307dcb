"""The tables and the plot of the study of long videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..transition.pictures import markdown, number, percent, with_interval
from .summary import OVER_TIME, POOLED

TITLES = {
    "right": "frames that are right",
    "colour": "colour error",
    "sharpness": "sharpness",
}

Row = Mapping[str, Any]


def table(rows: Sequence[Row], kinds: Sequence[Row]) -> str:
    """The arms over scenarios, the picture over time, and success switch by switch."""
    switched = [_overview(row) for row in rows if row["n"]]
    held = [_held(row) for row in rows if row["scenario"] != POOLED]
    return "\n".join(markdown(lines) for lines in (switched, held, *_by_switch(kinds)) if lines)


def _overview(row: Row) -> dict[str, str]:
    return {
        "technique": row["technique"],
        "scenario": row["scenario"],
        "videos": str(row["videos"]),
        "switches": str(row["n"]),
        "success": with_interval(row, "success"),
        "gain over plain": with_interval(row, "gain"),
        "success where ready (n)": f"{with_interval(row, 'success_ready')} ({row['success_ready_n']})",
        "lasting": percent(row["lasting"]),
        "relapse (n)": f"{with_interval(row, 'relapse')} ({row['relapse_n']})",
        "TL frames": number(row["tl_frames"]),
        "reached": percent(row["reached"]),
        "remaining": percent(row["remaining"]),
        "artefacts": percent(row["artefacts"]),
        "first scene": percent(row["first_scene"]),
        "identity": with_interval(row, "identity"),
        "evaluations": number(row["evaluations"]),
    }


def _held(row: Row) -> dict[str, str]:
    return {
        "from the first to the last section": row["technique"],
        "scenario": row["scenario"],
        "videos": str(row["videos"]),
        "right at the end": percent(row["right_at_end"]),
        "colour": with_interval(row, "colour_drift", _thousandths),
        "sharpness": with_interval(row, "sharpness_drift", _thousandths),
    }


def _thousandths(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _by_switch(kinds: Sequence[Row]) -> list[list[dict[str, str]]]:
    """A table for each scenario that has switches: success of every arm, switch by switch."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for row in kinds:
        lines = tables.setdefault(row["scenario"], {})
        line = lines.setdefault(row["technique"], {f"{row['scenario']}, success": row["technique"]})
        line[f"{row['switch']} {row['kind']}"] = percent(row["success"])
    return [list(lines.values()) for lines in tables.values()]


def save_plot(
    path: Path, curves: Sequence[Row], borders: Mapping[str, Sequence[int]], section_seconds: float
) -> Path:
    """Draw the curves of `over_time`: a column for each scenario, with a line at each of its switches, and a row a measure.

    borders: for each scenario the sections with which its switches lie. section_seconds: length of a section.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scenarios = list(dict.fromkeys(row["scenario"] for row in curves))
    figure = Figure(figsize=(6 * len(scenarios), 9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(OVER_TIME), len(scenarios), sharex="col", sharey="row", squeeze=False)
    for line, name in enumerate(OVER_TIME):
        for column, scenario in enumerate(scenarios):
            own = [row for row in curves if row["scenario"] == scenario]
            _plot_curves(axes[line, column], own, name, section_seconds)
            for border in borders[scenario]:
                axes[line, column].axvline(border * section_seconds, color="grey", linewidth=0.5)
            if not line:
                axes[line, column].set_title(scenario)
        axes[line, 0].set_ylabel(TITLES[name])
    for place in axes[-1]:
        place.set_xlabel("seconds")
    axes[0, 0].legend(loc="lower left")
    figure.savefig(path, dpi=100)
    return path


def _plot_curves(axes: Any, rows: Sequence[Row], name: str, section_seconds: float) -> None:
    for row in rows:
        times = [(number + 0.5) * section_seconds for number in range(len(row[name]))]
        axes.plot(times, row[name], label=row["technique"])
