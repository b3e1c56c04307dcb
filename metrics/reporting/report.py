"""Scores as text and as the part of report.json that all commands share."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import Guard, Metric, SwitchScores, VideoScores
from ..switches import Switch

SCHEMA = "framepack-transitions/1"
NONE = "-"
DIGITS = 4  # of a curve in the report


@dataclass(frozen=True)
class Measure:
    """How a metric is shown.

    Its name, which direction is good, whether it counts frames, and whether it is only shown where it was asked for.
    """

    name: str
    meaning: str
    good: str
    in_frames: bool = False
    on_demand: bool = False

    @property
    def label(self) -> str:
        """Name, meaning and direction."""
        return f"{self.name}, {self.meaning} ({self.good} is good)"


MEASURES = {
    "stf": Measure("STF", "new prompt seen", "high"),
    "tl10": Measure("TL10", "change begins", "low", in_frames=True),
    "tl90": Measure("TL90", "change complete", "low", in_frames=True),
    "gas": Measure("GAS", "old scene lingers", "low"),
    "df": Measure("DF", "object gone", "high", on_demand=True),
    "ddi": Measure("DDI", "motion on prompt", "high"),
    "inertia": Measure("inertia", "memory wins", "low", on_demand=True),
}
UNSCORED = "No switch of the prompt is known: curves and guards only, no scores."
FOUNDING = "In parentheses: by the founding formula."


@dataclass(frozen=True)
class Row:
    """A line of a table: its label and a cell for each video."""

    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """The lines that belong to one switch, under a title."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """Scores of one or more videos, ready to be drawn; cells point to `notes` as [1], [2], ..."""

    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def score_table(scores: Sequence[VideoScores]) -> Table:
    """Arranges scores with a column for each video; what is not valid is a reason and never a number."""
    notes: dict[str, int] = {}
    most = max((len(video.switches) for video in scores), default=0)
    groups = [_switch_group(scores, index, most, notes) for index in range(most)]
    if any(video.guards for video in scores):
        cells = (_guards(video.guards, notes) for video in scores)
        groups.append(Group("whole video", (Row("guards", tuple(cells)),)))
    return Table(
        tuple(video.name for video in scores),
        tuple(groups),
        tuple(f"[{number}] {note}" for note, number in notes.items()),
    )


def text_table(scores: Sequence[VideoScores]) -> str:
    """Scores of one or more videos as lines of plain text, for a console or a node that shows text."""
    table = score_table(scores)
    labels = max((_columns(row.label) for group in table.groups for row in group.rows), default=0)
    widths = [
        max(_columns(name), *(_columns(row.cells[i]) for group in table.groups for row in group.rows), 0)
        for i, name in enumerate(table.columns)
    ]
    lines = [describe(video) for video in scores]
    lines += ["", _line("", table.columns, labels, widths)]
    for group in table.groups:
        lines.append(group.title)
        lines += [_line(f"  {row.label}", row.cells, labels, widths) for row in group.rows]
    if not any(video.switches for video in scores):
        lines += ["", UNSCORED]
    else:
        lines += ["", FOUNDING]
    return "\n".join([*lines, *table.notes]).rstrip()


def describe(video: VideoScores) -> str:
    """A video in a line: frames, size, rate and features."""
    height, width = video.size
    return (
        f"{video.name}: {video.frames} frames, {width}x{height}, {video.fps:g} fps, features {video.features}"
    )


def cell(metric: Metric, measure: Measure, fps: float, mark: str = "") -> str:
    """A metric in a few characters: its value, or the `mark` of the note that says why there is none.

    The value by the founding formula follows in parentheses where it is a number.
    """
    if not metric.valid or not isfinite(metric.value):
        value = "not valid"
    elif not measure.in_frames:
        value = _decimal(metric.value)
    elif metric.censored:
        value = f"not in {metric.value:.0f} frames"
    else:
        value = f"{metric.value:.0f} frames {metric.value / fps:.2f} s"
    founding = f"{metric.founding:.0f}" if measure.in_frames else _decimal(metric.founding)
    return " ".join(filter(None, (value, mark, f"({founding})" * isfinite(metric.founding))))


def switch_entry(
    switch: Switch, fps: float, metrics: Mapping[str, Metric] = {}, guards: Sequence[Guard] = ()
) -> dict[str, Any]:
    """An entry of `switches` in report.json, as plain data."""
    return SwitchScores(switch, metrics, tuple(guards)).to_json(fps)


def report_part(scores: Sequence[VideoScores]) -> dict[str, Any]:
    """What evaluations add to report.json: `switches` (one list per video when there are several) and `evaluation`.

    `evaluation` has an entry for each video: extractor, methods, guards of the whole video, summary, and the curves
    with a value for each frame (null where undefined).
    """
    switches = [[entry.to_json(video.fps) for entry in video.switches] for video in scores]
    return {
        "switches": switches[0] if len(switches) == 1 else switches,
        "evaluation": [_video_entry(video) for video in scores],
    }


def curves(video: VideoScores) -> dict[str, list[float | None]]:
    """All curves of a video by name, rounded for JSON; those of a metric are named `<metric>_<switch>`."""
    measured = video.measurements
    named = {
        name: getattr(measured, name)
        for name in ("brightness", "saturation", "sharpness", "noise", "change", "flow")
    }
    named["first_distance"] = first_distance(measured.features)
    named |= {f"detection {concept}": values for concept, values in measured.detections.items()}
    for number, entry in enumerate(video.switches, 1):
        named |= {
            f"{key}_{number}": metric.curve
            for key, metric in entry.metrics.items()
            if metric.curve is not None
        }
    return {
        name: [round(float(v), DIGITS) if isfinite(v) else None for v in values]
        for name, values in named.items()
    }


def first_distance(features: NDArray[Any]) -> NDArray[Any]:
    """How far features [T,D] are from those of the first whole frame, as a share of their length, [T]."""
    whole = np.isfinite(features).all(1)
    if not whole.any():
        return np.full(len(features), np.nan)
    first = features[whole.argmax()]
    return np.linalg.norm(features - first, axis=1) / max(float(np.linalg.norm(first)), 1e-12)


def one_line(text: str, limit: int) -> str:
    """`text` in one line of at most `limit` columns, with an ellipsis where something is left out."""
    text = " ".join(text.split())
    if _columns(text) <= limit:
        return text
    while text and _columns(text) > limit - 3:
        text = text[:-1]
    return text.rstrip() + "..."


def _video_entry(video: VideoScores) -> dict[str, Any]:
    entry = video.to_json()
    entry.pop("switches")
    return {**entry, "curves": curves(video)}


def _switch_group(scores: Sequence[VideoScores], index: int, most: int, notes: dict[str, int]) -> Group:
    entries = [video.switches[index] if index < len(video.switches) else None for video in scores]
    rows = [Row("switch at", tuple(map(_place, entries, scores)))]
    for key, measure in MEASURES.items():
        if any(_is_shown(entry, key) for entry in entries):
            cells = (_metric_cell(entry, key, video, notes) for entry, video in zip(entries, scores))
            rows.append(Row(measure.label, tuple(cells)))
    if any(entry and entry.guards for entry in entries):
        rows.append(Row("guards", tuple(_guards(entry.guards if entry else (), notes) for entry in entries)))
    switch = next(entry.switch for entry in entries if entry)
    title = f"{one_line(switch.old, 40)!r} -> {one_line(switch.new, 40)!r}"
    return Group(title if most == 1 else f"switch {index + 1}: {title}", tuple(rows))


def _is_shown(entry: SwitchScores | None, key: str) -> bool:
    """Whether a metric of a switch was asked for: then something of it is known."""
    if entry is None or key not in entry.metrics:
        return False
    metric = entry.metrics[key]
    known = metric.valid or isfinite(metric.founding) or metric.curve is not None or bool(metric.details)
    return known or not MEASURES[key].on_demand


def _place(entry: SwitchScores | None, video: VideoScores) -> str:
    if entry is None:
        return NONE
    return f"frame {entry.switch.frame} ({entry.switch.seconds(video.fps):.2f} s)"


def _metric_cell(entry: SwitchScores | None, key: str, video: VideoScores, notes: dict[str, int]) -> str:
    if entry is None or key not in entry.metrics:
        return NONE
    metric = entry.metrics[key]
    return cell(metric, MEASURES[key], video.fps, _mark(metric.reason, notes))


def _guards(guards: Sequence[Guard], notes: dict[str, int]) -> str:
    """`ok`, or the guards that fail with their notes."""
    if not guards:
        return NONE
    failed = [f"{guard.name} {_mark(guard.reason, notes)}".strip() for guard in guards if not guard.ok]
    return f"FAILED: {', '.join(failed)}" if failed else "ok"


def _mark(note: str, notes: dict[str, int]) -> str:
    """The number of a note in brackets; the same words get the same number."""
    return f"[{notes.setdefault(note, len(notes) + 1)}]" if note else ""


def _decimal(value: float) -> str:
    """Two decimals, without a minus before zeros."""
    return f"{round(value, 2) + 0.0:.2f}"


def _line(label: str, cells: Sequence[str], labels: int, widths: Sequence[int]) -> str:
    padded = [_padded(label, labels + 2), *map(_padded, cells, widths)]
    return "  ".join(padded).rstrip()


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def _columns(text: str) -> int:
    """Columns that a text takes in a fixed font; Chinese and Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
