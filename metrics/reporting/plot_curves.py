"""The part of a plot of scores that is curves over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array
from ..results import SwitchScores, VideoScores
from ..scoring.registry import METRICS
from ..switches import Windows, windows_of
from .report import first_distance
from .rows import LEFT, Box, Row
from .style import COLOURS, DASHES, DPI, INK, LETTER, SHADE, SMALL
from .text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TALL, LOW, TITLE, TIMES = (
    92,
    48,
    21,
    14,
)  # px: curves in 0..1, other curves, the title above each, seconds below


@dataclass(frozen=True)
class _Curve:
    """A line of a panel.

    video: number of the video.
    values: one a frame, or one a pair of frames.
    style: number of the line among those of the same video.
    """

    video: int
    values: Array
    style: int = 0


@dataclass(frozen=True)
class _Panel:
    """Curves with one axis.

    title: what stands above.
    curves: the lines.
    limits: range of the axis, None for that of the curves.
    metric: key of the metric that is shown, "" for none.
    """

    title: str
    curves: tuple[_Curve, ...]
    limits: tuple[float, float] | None = None
    metric: str = ""


def curve_rows(scores: Sequence[VideoScores], columns: int = 1) -> list[Row]:
    """Rows of so many panels side by side, for all panels that have a curve.

    Panels in one column have their time axis below the frames that follow, those in several have one of their own.
    """
    drawn = [panel for panel in _all_panels(scores) if panel.curves]
    end = max(video.frames / video.fps for video in scores)
    rows = [drawn[first : first + columns] for first in range(0, len(drawn), columns)]
    return [_row(panels, scores, columns, end) for panels in rows]


def _row(panels: Sequence[_Panel], scores: Sequence[VideoScores], columns: int, end: float) -> Row:
    height = TALL if any(panel.limits for panel in panels) else LOW
    axis = TIMES if columns > 1 else 0

    def draw(figure: Figure, box: Box) -> None:
        gap = LEFT / (figure.get_figwidth() * DPI)
        below = axis / (figure.get_figheight() * DPI)
        width = (box[2] - gap * (columns - 1)) / columns
        for column, panel in enumerate(panels):
            left = box[0] + column * (width + gap)
            part = (left, box[1] + below, width, box[3] - below)
            _draw(figure, part, panel=panel, scores=scores, end=end, has_times=axis > 0)

    return Row(height + TITLE + axis, draw)


def _all_panels(scores: Sequence[VideoScores]) -> list[_Panel]:
    return [*_metric_panels(scores), *_detection_panels(scores), *_measurement_panels(scores)]


def _metric_panels(scores: Sequence[VideoScores]) -> list[_Panel]:
    return [
        _Panel(spec.curve, _of_metric(scores, spec.key), (0, 1), spec.key) for spec in METRICS if spec.curve
    ]


def _detection_panels(scores: Sequence[VideoScores]) -> list[_Panel]:
    found = [video.measurements.detections for video in scores]
    return [
        _Panel(
            f"Confidence that {one_line(concept, 60)!r} is seen",
            _finite(_Curve(i, curves[concept]) for i, curves in enumerate(found) if concept in curves),
            (0, 1),
        )
        for concept in dict.fromkeys(concept for curves in found for concept in curves)
    ]


def _measurement_panels(scores: Sequence[VideoScores]) -> list[_Panel]:
    measured = list(enumerate(video.measurements for video in scores))
    distances = [_Curve(i, first_distance(m.features)) for i, m in measured if not scores[i].switches]
    levels = [
        _Curve(i, values, style)
        for i, m in measured
        for style, values in enumerate((m.brightness, m.saturation))
    ]
    return [
        _Panel("Distance from the first frame", _finite(distances)),
        _Panel("Motion (flow)", _finite(_Curve(i, m.flow) for i, m in measured)),
        _Panel("Change from frame to frame", _finite(_Curve(i, m.change) for i, m in measured)),
        _Panel("Sharpness", _finite(_Curve(i, m.sharpness) for i, m in measured)),
        _Panel("Brightness, and thin: saturation", _finite(levels)),
    ]


def _of_metric(scores: Sequence[VideoScores], key: str) -> tuple[_Curve, ...]:
    """The curves of a metric, one for each video."""
    return _finite(_Curve(index, _joined(video, key)) for index, video in enumerate(scores) if video.switches)


def _joined(video: VideoScores, key: str) -> Array:
    """The curve [T] of a metric from each switch to the next; before the first switch that of the first."""
    joined = np.full(video.frames, np.nan)
    for entry in video.switches:
        curve = entry.metrics[key].curve if key in entry.metrics else None
        if curve is not None:
            first = 0 if entry is video.switches[0] else entry.switch.frame
            end = _windows(video, entry).after[1]
            joined[first:end] = curve[first:end]
    return joined


def _windows(video: VideoScores, entry: SwitchScores) -> Windows:
    switches = [other.switch for other in video.switches]
    return windows_of(entry.switch, switches, video.frames, video.fps)


def _finite(curves: Iterable[_Curve]) -> tuple[_Curve, ...]:
    """The curves that hold at least one number."""
    return tuple(curve for curve in curves if np.isfinite(curve.values).any())


def _draw(
    figure: Figure,
    box: Box,
    *,
    panel: _Panel,
    scores: Sequence[VideoScores],
    end: float,
    has_times: bool,
) -> None:
    letters = int(box[2] * figure.get_figwidth() * DPI / LETTER)
    title = TITLE / (figure.get_figheight() * DPI)
    axes = figure.add_axes((box[0], box[1], box[2], box[3] - title))
    axes.set_title(one_line(panel.title, letters), loc="left", fontsize=SMALL, pad=3, color=INK)
    for curve in panel.curves:
        fps = scores[curve.video].fps
        # Values between two frames are drawn halfway.
        shift = (scores[curve.video].frames - len(curve.values)) / 2
        axes.plot(
            (np.arange(len(curve.values)) + shift) / fps,
            np.clip(curve.values, -0.05, 1.05) if panel.limits else curve.values,
            color=COLOURS[curve.video],
            linestyle=DASHES[curve.video],
            linewidth=0.8 if curve.style else 1.6,
            marker="." if len(curve.values) == 1 else None,
        )
    _mark_switches(axes, panel, scores)
    axes.set_xlim(0, end)
    if panel.limits:
        axes.set(ylim=(-0.06, 1.06), yticks=(0, 0.5, 1))
    else:
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0), high)
        axes.locator_params(axis="y", nbins=3)
    axes.tick_params(labelbottom=has_times, length=2, pad=2, colors=INK)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_switches(axes: Axes, panel: _Panel, scores: Sequence[VideoScores]) -> None:
    for index, video in enumerate(scores):
        for entry in video.switches:
            first, last = _windows(video, entry).settled
            if panel.limits:
                axes.axvspan(first / video.fps, last / video.fps, color=SHADE, zorder=-2, linewidth=0)
            axes.axvline(entry.switch.seconds(video.fps), color=INK, linestyle=":", linewidth=1.2)
            for spec in METRICS:
                if spec.mark is not None and spec.mark.panel == panel.metric:
                    time = _reached_at(entry, spec.key)
                    look: Any = {"color": COLOURS[index], "markeredgecolor": "white", "markersize": 8}
                    axes.plot([time / video.fps], [spec.mark.level], spec.mark.symbol, zorder=5, **look)


def _reached_at(entry: SwitchScores, key: str) -> float:
    """The frame at which a wait ended; NaN, which is not drawn, where it did not."""
    metric = entry.metrics.get(key)
    if metric is None or not metric.valid or metric.censored:
        return np.nan
    return entry.switch.frame + metric.value
