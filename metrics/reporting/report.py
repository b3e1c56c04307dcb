"""Scores as text and as the part of report.json that all commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from ..arrays import Array
from ..results import Guard, Metric, SwitchScores, VideoScores
from ..scoring.registry import METRICS, MetricSpec
from ..scoring.verdict import UNVALIDATED, VALIDATED
from ..switches import Switch
from .text import columns, one_line, padded

SCHEMA = "framepack-transitions/1"
NONE = "-"
DIGITS = 4  # of a curve in the report


UNSCORED = "No switch of the prompt is known: curves and guards only, no scores."
FOUNDING = "In parentheses: by the founding formula."


@dataclass(frozen=True)
class Row:
    """A line of a table.

    label: what stands at its left.
    cells: a text for each video.
    """

    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """The lines that belong to one switch, or to the whole video.

    title: what stands above them.
    rows: the lines.
    """

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """Scores of one or more videos as texts.

    columns: the names of the videos.
    groups: lines, by switch.
    notes: numbered reasons, to which cells point as [1], [2], ...
    """

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
    labels = max((columns(row.label) for group in table.groups for row in group.rows), default=0)
    widths = [
        max(columns(name), *(columns(row.cells[i]) for group in table.groups for row in group.rows), 0)
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
        lines += ["", FOUNDING, *validation(scores)]
    return "\n".join([*lines, *table.notes]).rstrip()


def validation(scores: Sequence[VideoScores]) -> list[str]:
    """A sentence for each kind of features whose verdicts were not compared with the truth."""
    judging = {
        video.features
        for video in scores
        if any(entry.verdict and entry.verdict.success is not None for entry in video.switches)
    }
    return [UNVALIDATED.format(features=features) for features in sorted(judging - VALIDATED)]


def describe(video: VideoScores) -> str:
    """A video in a line: frames, size, rate and features."""
    height, width = video.size
    return (
        f"{video.name}: {video.frames} frames, {width}x{height}, {video.fps:g} fps, features {video.features}"
    )


def cell(metric: Metric, spec: MetricSpec, fps: float, mark: str = "") -> str:
    """A metric in a few characters: its value, or the `mark` of the note that says why there is none.

    The value by the founding formula follows in parentheses where it is a number.
    """
    if not metric.valid or not isfinite(metric.value):
        value = "not valid"
    elif not spec.is_wait:
        value = _decimal(metric.value)
    elif metric.censored:
        value = f"not in {metric.value:.0f} frames"
    else:
        value = f"{metric.value:.0f} frames {metric.value / fps:.2f} s"
    founding = f"{metric.founding:.0f}" if spec.is_wait else _decimal(metric.founding)
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


def first_distance(features: Array) -> Array:
    """How far features [T,D] are from those of the first whole frame, as a share of their length, [T]."""
    whole = np.isfinite(features).all(1)
    if not whole.any():
        return np.full(len(features), np.nan)
    first = features[whole.argmax()]
    distance: Array = np.linalg.norm(features - first, axis=1) / max(float(np.linalg.norm(first)), 1e-12)
    return distance


def _video_entry(video: VideoScores) -> dict[str, Any]:
    entry = video.to_json()
    entry.pop("switches")
    return {**entry, "curves": curves(video)}


def _switch_group(scores: Sequence[VideoScores], index: int, most: int, notes: dict[str, int]) -> Group:
    entries = [video.switches[index] if index < len(video.switches) else None for video in scores]
    rows = [Row("switch at", tuple(map(_place, entries, scores)))]
    if any(entry and entry.verdict for entry in entries):
        rows.append(Row("verdict", tuple(_verdict(entry, notes) for entry in entries)))
    for spec in METRICS:
        if any(_is_shown(entry, spec) for entry in entries):
            cells = (_metric_cell(entry, spec, video, notes) for entry, video in zip(entries, scores))
            rows.append(Row(spec.label, tuple(cells)))
    if any(entry and entry.guards for entry in entries):
        rows.append(Row("guards", tuple(_guards(entry.guards if entry else (), notes) for entry in entries)))
    switch = next(entry.switch for entry in entries if entry)
    title = f"{one_line(switch.old, 40)!r} -> {one_line(switch.new, 40)!r}"
    return Group(title if most == 1 else f"switch {index + 1}: {title}", tuple(rows))


def _is_shown(entry: SwitchScores | None, spec: MetricSpec) -> bool:
    """Whether a metric of a switch was asked for: then something of it is known."""
    if entry is None or spec.key not in entry.metrics:
        return False
    metric = entry.metrics[spec.key]
    known = metric.valid or isfinite(metric.founding) or metric.curve is not None or bool(metric.details)
    return known or not spec.on_demand


def _place(entry: SwitchScores | None, video: VideoScores) -> str:
    if entry is None:
        return NONE
    return f"frame {entry.switch.frame} ({entry.switch.seconds(video.fps):.2f} s)"


def _metric_cell(
    entry: SwitchScores | None, spec: MetricSpec, video: VideoScores, notes: dict[str, int]
) -> str:
    if entry is None or spec.key not in entry.metrics:
        return NONE
    metric = entry.metrics[spec.key]
    return cell(metric, spec, video.fps, _mark(metric.reason, notes))


def _verdict(entry: SwitchScores | None, notes: dict[str, int]) -> str:
    """Whether the switch succeeded and the share of the new state, with a note of what is wrong."""
    if entry is None or entry.verdict is None:
        return NONE
    verdict = entry.verdict
    word = {None: "not known", True: "success", False: "no success"}[verdict.success]
    share = f"({_decimal(verdict.share)})" if isfinite(verdict.share) else ""
    return " ".join(filter(None, (word, share, _mark(verdict.reason, notes))))


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
    return "  ".join([padded(label, labels + 2), *map(padded, cells, widths)]).rstrip()
