"""Scores as one picture: a table, curves over time with the switches marked, and a strip of frames for each video."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..results import SwitchScores, VideoScores
from ..switches import windows_of
from .report import FOUNDING, NONE, UNSCORED, Table, describe, first_distance, one_line, score_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1000  # px
DPI = 100
# Okabe and Ito's colours, which all kinds of colour vision tell apart; lines differ in their dashes as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
INK, FAINT, ALARM, SHADE = "#222222", "#888888", "#B00020", "#E8E8E8"
# A video's prompts may be in any script: after the usual font, those that hold the characters it lacks.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "IPAGothic",
    "Yu Gothic",
    "Meiryo",
    "Hiragino Sans",
    "Microsoft YaHei",
    "PingFang SC",
)
SMALL, LEFT, RIGHT, LINE = 8.5, 58, 14, 17  # font size in points, the others in px
LABELS, LETTER = 262, 6.3  # px: width of the table's labels, and of a letter
TALL, LOW, TITLE = 92, 48, 21  # px: curves in 0..1, other curves, the title above each
CELL, ALONE = 92, 124  # px: longer side of a frame in a strip, and where there is one strip


@dataclass(frozen=True)
class _Curve:
    """A line of a panel; `style` counts lines of the same video."""

    video: int
    values: NDArray[Any]
    style: int = 0


@dataclass(frozen=True)
class _Panel:
    title: str
    curves: tuple[_Curve, ...]
    limits: tuple[float, float] | None = None
    events: bool = False


@dataclass(frozen=True)
class _Row:
    """A row of the page: its height in px and what draws it, given the figure and (left, bottom, width, height)."""

    height: int
    draw: Callable[[Figure, tuple[float, float, float, float]], None]


def plot_scores(scores: Sequence[VideoScores], width: int = WIDTH) -> NDArray[np.uint8]:
    """Draw the scores of one or more videos as a picture uint8 [H,width,3].

    Raises ValueError without a video.
    """
    if not scores:
        raise ValueError("there is nothing to plot: give the scores of at least one video.")
    import matplotlib

    look = {"font.family": installed_fonts(), "font.size": SMALL, "text.parse_math": False}
    with matplotlib.rc_context(look), warnings.catch_warnings():
        # Where no font holds a letter it is drawn as a box, which says enough.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        return _rendered([*_head(scores, width), *_panels(scores), *_strips(scores, width)], width)


def installed_fonts() -> list[str]:
    """Those of FONTS that this machine has."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return [name for name in FONTS if name in installed]


def _rendered(rows: Sequence[_Row], width: int) -> NDArray[np.uint8]:
    """Put rows below one another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = sum(row.height for row in rows)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    top = height
    for row in rows:
        top -= row.height
        row.draw(figure, (LEFT / width, top / height, (width - LEFT - RIGHT) / width, row.height / height))
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


# Words: names, table, notes


def _head(scores: Sequence[VideoScores], width: int) -> list[_Row]:
    table = score_table(scores)
    letters = int((width - 30) / LETTER)
    rows = [
        _words(one_line(describe(video), letters), COLOURS[i], bold=True) for i, video in enumerate(scores)
    ]
    rows.append(_Row(6, _nothing))
    rows += _table(table, width)
    rows.append(_words(FOUNDING if any(video.switches for video in scores) else UNSCORED, FAINT))
    for note in table.notes:
        rows += [
            _words(line, INK)
            for line in textwrap.wrap(note, letters // (1 if note.isascii() else 2), subsequent_indent="    ")
        ]
    return [_Row(8, _nothing), *rows, _Row(6, _nothing), *_legend(scores)]


def _table(table: Table, width: int) -> list[_Row]:
    column = (width - LABELS - 30) / len(table.columns)
    letters = int(column / LETTER) - 1
    places = [LABELS + 16 + column * i for i in range(len(table.columns))]
    rows = []
    if len(table.columns) > 1:
        names = [
            (x, one_line(name, letters), COLOURS[i]) for i, (x, name) in enumerate(zip(places, table.columns))
        ]
        rows.append(_cells(names, bold=True))
    for group in table.groups:
        rows.append(_words(one_line(group.title, int(width / LETTER) - 4), INK, bold=True))
        for row in group.rows:
            cells = [(x, one_line(text, letters), _cell_colour(text)) for x, text in zip(places, row.cells)]
            rows.append(_cells([(28, row.label, INK), *cells]))
    return [*rows, _Row(4, _nothing)]


def _cell_colour(text: str) -> str:
    if text.startswith("FAILED"):
        return ALARM
    return FAINT if text == NONE or text.startswith("not valid") else INK


def _words(text: str, colour: str, bold: bool = False) -> _Row:
    return _cells([(14, text, colour)], bold)


def _cells(cells: Sequence[tuple[float, str, str]], bold: bool = False) -> _Row:
    """A line of texts, each (x in px, text, colour)."""

    def draw(figure: Figure, box: tuple[float, float, float, float]) -> None:
        for x, text, colour in cells:
            figure.text(
                x / (figure.get_figwidth() * DPI),
                box[1] + box[3] / 2,
                text,
                color=colour,
                weight="bold" if bold else "normal",
                va="center_baseline",
            )

    return _Row(LINE, draw)


def _nothing(figure: Figure, box: tuple[float, float, float, float]) -> None:
    """A row of empty space."""


def _legend(scores: Sequence[VideoScores]) -> list[_Row]:
    """What colours and marks stand for."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if len(scores) > 1:
        handles += [
            Line2D([], [], color=COLOURS[i], linestyle=DASHES[i], label=one_line(video.name, 22))
            for i, video in enumerate(scores)
        ]
    if any(video.switches for video in scores):
        handles += [
            Line2D([], [], color=INK, linestyle=":", label="switch"),
            Line2D([], [], color=INK, marker=">", linestyle="", label="10 % (TL10)"),
            Line2D([], [], color=INK, marker="o", linestyle="", label="90 % (TL90)"),
            Patch(color=SHADE, label="settled window"),
        ]
    if not handles:
        return []

    def draw(figure: Figure, box: tuple[float, float, float, float]) -> None:
        figure.legend(
            handles=handles, loc="center left", bbox_to_anchor=(0.01, box[1] + box[3] / 2), ncols=len(handles),
            frameon=False, handlelength=2.2, columnspacing=1.4,
        )  # fmt: skip

    return [_Row(24, draw)]


# Curves


def _panels(scores: Sequence[VideoScores]) -> list[_Row]:
    drawn = [panel for panel in _all_panels(scores) if panel.curves]
    end = max(video.frames / video.fps for video in scores)
    return [
        _Row(
            (TALL if panel.limits else LOW) + TITLE,
            lambda figure, box, panel=panel: _draw(figure, box, panel, scores, end),
        )
        for panel in drawn
    ]


def _all_panels(scores: Sequence[VideoScores]) -> list[_Panel]:
    measured = [video.measurements for video in scores]
    concepts = dict.fromkeys(concept for video in measured for concept in video.detections)
    return [
        _Panel("Probability of the new prompt against the old", _of_metric(scores, "stf"), (0, 1)),
        _Panel("Progress from the old look to the new", _of_metric(scores, "tl90"), (0, 1), events=True),
        _Panel("Similarity to the old scene", _of_metric(scores, "gas"), (0, 1)),
        *(
            _Panel(
                f"Confidence that {one_line(concept, 60)!r} is seen",
                _finite(
                    _Curve(i, video.detections[concept])
                    for i, video in enumerate(measured)
                    if concept in video.detections
                ),
                (0, 1),
            )
            for concept in concepts
        ),
        _Panel(
            "Distance from the first frame",
            _finite(
                _Curve(i, first_distance(m.features))
                for i, m in enumerate(measured)
                if not scores[i].switches
            ),
        ),
        _Panel("Motion (flow)", _finite(_Curve(i, m.flow) for i, m in enumerate(measured))),
        _Panel("Change from frame to frame", _finite(_Curve(i, m.change) for i, m in enumerate(measured))),
        _Panel("Sharpness", _finite(_Curve(i, m.sharpness) for i, m in enumerate(measured))),
        _Panel(
            "Brightness, and thin: saturation",
            _finite(
                _Curve(i, values, style)
                for i, m in enumerate(measured)
                for style, values in enumerate((m.brightness, m.saturation))
            ),
        ),
    ]


def _of_metric(scores: Sequence[VideoScores], key: str) -> tuple[_Curve, ...]:
    """The curves of a metric, one for each video."""
    return _finite(_Curve(index, _joined(video, key)) for index, video in enumerate(scores) if video.switches)


def _joined(video: VideoScores, key: str) -> NDArray[Any]:
    """The curve [T] of a metric from each switch to the next; before the first switch that of the first."""
    joined = np.full(video.frames, np.nan)
    for entry in video.switches:
        curve = entry.metrics[key].curve if key in entry.metrics else None
        if curve is not None:
            first = 0 if entry is video.switches[0] else entry.switch.frame
            end = _windows(video, entry).after[1]
            joined[first:end] = curve[first:end]
    return joined


def _windows(video: VideoScores, entry: SwitchScores) -> Any:
    switches = [other.switch for other in video.switches]
    return windows_of(entry.switch, switches, video.frames, video.fps)


def _finite(curves: Any) -> tuple[_Curve, ...]:
    """The curves that hold at least one number."""
    return tuple(curve for curve in curves if np.isfinite(curve.values).any())


def _draw(
    figure: Figure,
    box: tuple[float, float, float, float],
    panel: _Panel,
    scores: Sequence[VideoScores],
    end: float,
) -> None:
    title = TITLE / (figure.get_figheight() * DPI)
    axes = figure.add_axes((box[0], box[1], box[2], box[3] - title))
    axes.set_title(panel.title, loc="left", fontsize=SMALL, pad=3, color=INK)
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
    axes.tick_params(labelbottom=False, length=2, colors=INK)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_switches(axes: Axes, panel: _Panel, scores: Sequence[VideoScores]) -> None:
    for index, video in enumerate(scores):
        for entry in video.switches:
            first, last = _windows(video, entry).settled
            if panel.limits:
                axes.axvspan(first / video.fps, last / video.fps, color=SHADE, zorder=-2, linewidth=0)
            axes.axvline(entry.switch.seconds(video.fps), color=INK, linestyle=":", linewidth=1.2)
            if panel.events:
                for key, level, marker in (("tl10", 0.1, ">"), ("tl90", 0.9, "o")):
                    _mark_event(axes, video, entry, key, level, marker, COLOURS[index])


def _mark_event(
    axes: Axes, video: VideoScores, entry: SwitchScores, key: str, level: float, marker: str, colour: str
) -> None:
    """A mark where the change has come so far, if it has."""
    metric = entry.metrics.get(key)
    if metric is None or not metric.valid or metric.censored or not np.isfinite(metric.value):
        return
    time = (entry.switch.frame + metric.value) / video.fps
    axes.plot([time], [level], marker, color=colour, markeredgecolor="white", markersize=8, zorder=5)


# Frames


def _strips(scores: Sequence[VideoScores], width: int) -> list[_Row]:
    """A row of frames for each video under the curves, every frame below its moment, and the time axis."""
    end = max(video.frames / video.fps for video in scores)
    inner = width - LEFT - RIGHT
    rows = []
    for index, video in enumerate(scores):
        if video.measurements.thumbnails:
            aspect = video.size[0] / video.size[1]
            cells = round(inner / ((ALONE if len(scores) == 1 else CELL) / max(aspect, 1)))
            height = round(inner / cells * aspect)
            rows.append(
                _Row(
                    height + 8,
                    lambda figure, box, i=index, n=cells, h=height: _draw_strip(
                        figure, box, scores, i, n, h, end
                    ),
                )
            )
    return [_Row(8, _nothing), *rows, _Row(36, lambda figure, box: _time_axis(figure, box, end))]


def _draw_strip(
    figure: Figure,
    box: tuple[float, float, float, float],
    scores: Sequence[VideoScores],
    index: int,
    cells: int,
    height: int,
    end: float,
) -> None:
    video = scores[index]
    axes = figure.add_axes((box[0], box[1], box[2], height / (figure.get_figheight() * DPI)))
    numbers = np.array(sorted(video.measurements.thumbnails))
    for cell in range(cells):
        time = (cell + 0.5) * end / cells
        if time * video.fps > video.frames:
            break
        nearest = numbers[np.abs(numbers - time * video.fps).argmin()]
        gap = 0.01 * end / cells
        axes.imshow(
            video.measurements.thumbnails[int(nearest)],
            extent=(cell * end / cells + gap, (cell + 1) * end / cells - gap, 0, 1),
            aspect="auto",
            interpolation="antialiased",
        )
    for entry in video.switches:
        axes.axvline(entry.switch.seconds(video.fps), color="white", linewidth=2.5)
        axes.axvline(entry.switch.seconds(video.fps), color=INK, linestyle=":", linewidth=1.6)
    axes.set(xlim=(0, end), ylim=(0, 1), xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    if len(scores) > 1:
        label = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        axes.text(
            0.004,
            0.04,
            one_line(video.name, 40),
            color=COLOURS[index],
            weight="bold",
            transform=axes.transAxes,
            bbox=label,
        )


def _time_axis(figure: Figure, box: tuple[float, float, float, float], end: float) -> None:
    axes = figure.add_axes((box[0], box[1] + box[3], box[2], 1e-6))
    axes.set(xlim=(0, end), yticks=())
    axes.set_xlabel("seconds", labelpad=1)
    axes.tick_params(length=3, pad=2)
    axes.spines[["top", "left", "right"]].set_visible(False)
