"""The part of a plot of scores that is words: names, table, notes, legend."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..results import VideoScores
from ..scoring.registry import METRICS, Mark, MetricSpec
from .report import FOUNDING, NONE, UNSCORED, Table, describe, score_table
from .rows import Box, Row
from .style import ALARM, COLOURS, DASHES, DPI, FAINT, INK, LETTER, SHADE
from .text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = 17  # px: height of a line of text
LABELS = 262  # px: width of the table's labels


def table_rows(scores: Sequence[VideoScores], width: int) -> list[Row]:
    """The rows above the curves: names, table, notes and legend."""
    table = score_table(scores)
    letters = int((width - 30) / LETTER)
    rows = [*_names(scores, letters), Row(6), *_table(table, width)]
    rows.append(_words(FOUNDING if any(video.switches for video in scores) else UNSCORED, FAINT))
    for note in table.notes:
        rows += [
            _words(line, INK)
            for line in textwrap.wrap(note, letters // (1 if note.isascii() else 2), subsequent_indent="    ")
        ]
    return [Row(8), *rows, Row(6), *_legend([*_lines_of_videos(scores), *_marks(scores)])]


def heading_rows(scores: Sequence[VideoScores], width: int) -> list[Row]:
    """The rows above the curves where there is no table: the video, or a legend of several, and what the marks mean."""
    rows = _names(scores, int((width - 30) / LETTER)) if len(scores) == 1 else []
    return [Row(8), *rows, *_legend(_lines_of_videos(scores)), *_legend(_marks(scores))]


def _names(scores: Sequence[VideoScores], letters: int) -> list[Row]:
    return [
        _words(one_line(describe(video), letters), COLOURS[i], bold=True) for i, video in enumerate(scores)
    ]


def _table(table: Table, width: int) -> list[Row]:
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
    return [*rows, Row(4)]


def _cell_colour(text: str) -> str:
    if text.startswith("FAILED"):
        return ALARM
    return FAINT if text == NONE or text.startswith("not valid") else INK


def _words(text: str, colour: str, bold: bool = False) -> Row:
    return _cells([(14, text, colour)], bold)


def _cells(cells: Sequence[tuple[float, str, str]], bold: bool = False) -> Row:
    """A line of texts, each (x in px, text, colour)."""

    def draw(figure: Figure, box: Box) -> None:
        for x, text, colour in cells:
            figure.text(
                x / (figure.get_figwidth() * DPI),
                box[1] + box[3] / 2,
                text,
                color=colour,
                weight="bold" if bold else "normal",
                va="center_baseline",
            )

    return Row(LINE, draw)


def _lines_of_videos(scores: Sequence[VideoScores]) -> list[Any]:
    """Entries of the legend that say which line is which video's; none for a single video."""
    from matplotlib.lines import Line2D

    if len(scores) == 1:
        return []
    return [
        Line2D([], [], color=COLOURS[i], linestyle=DASHES[i], label=_in_legend(one_line(video.name, 22)))
        for i, video in enumerate(scores)
    ]


def _in_legend(name: str) -> str:
    """A name as a legend shows it: Matplotlib before 3.10 leaves out those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _marks(scores: Sequence[VideoScores]) -> list[Any]:
    """Entries of the legend that say what is marked at a switch; none where no video has one."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not any(video.switches for video in scores):
        return []
    marks = [(spec.mark.symbol, _mark_label(spec, spec.mark)) for spec in METRICS if spec.mark is not None]
    return [
        Line2D([], [], color=INK, linestyle=":", label="switch"),
        *(Line2D([], [], color=INK, marker=symbol, linestyle="", label=label) for symbol, label in marks),
        Patch(color=SHADE, label="settled window"),
    ]


def _legend(handles: Sequence[Any]) -> list[Row]:
    """A row that says what colours and marks stand for; none without an entry."""
    if not handles:
        return []

    def draw(figure: Figure, box: Box) -> None:
        figure.legend(
            handles=handles, loc="center left", bbox_to_anchor=(0.01, box[1] + box[3] / 2), ncols=len(handles),
            frameon=False, handlelength=2.2, columnspacing=1.4,
        )  # fmt: skip

    return [Row(24, draw)]


def _mark_label(spec: MetricSpec, mark: Mark) -> str:
    return f"{100 * mark.level:g} % ({spec.name})"
