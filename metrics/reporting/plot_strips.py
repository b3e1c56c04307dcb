"""The part of a plot of scores that is frames, each below its moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..results import VideoScores
from .rows import LEFT, RIGHT, Box, Row
from .style import COLOURS, DPI, INK
from .text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALONE, CELL, SMALL_CELL = (
    124,
    92,
    60,
)  # px: longer side of a frame in the only strip, in one of several, in a low plot


@dataclass(frozen=True, kw_only=True)
class _Strip:
    """The frames of one video side by side.

    video: its scores.
    index: its number.
    cells: how many frames fit into the width.
    height: of a frame, in px.
    end: the second at the right end.
    named: whether its name is written into it.
    """

    video: VideoScores
    index: int
    cells: int
    height: int
    end: float
    named: bool

    def draw(self, figure: Figure, box: Box) -> None:
        """Draw the strip at the top of its row."""
        axes = figure.add_axes((box[0], box[1], box[2], self.height / (figure.get_figheight() * DPI)))
        self._draw_frames(axes)
        for entry in self.video.switches:
            axes.axvline(entry.switch.seconds(self.video.fps), color="white", linewidth=2.5)
            axes.axvline(entry.switch.seconds(self.video.fps), color=INK, linestyle=":", linewidth=1.6)
        axes.set(xlim=(0, self.end), ylim=(0, 1), xticks=(), yticks=())
        axes.spines[:].set_visible(False)
        if self.named:
            self._write_name(axes)

    def _draw_frames(self, axes: Axes) -> None:
        pictures, fps = self.video.measurements.thumbnails, self.video.fps
        numbers = np.array(sorted(pictures))
        length = self.end / self.cells
        for cell in range(self.cells):
            time = (cell + 0.5) * self.end / self.cells
            if time * fps > self.video.frames:
                break
            nearest = numbers[np.abs(numbers - time * fps).argmin()]
            axes.imshow(
                pictures[int(nearest)],
                extent=(cell * length + 0.01 * length, (cell + 1) * length - 0.01 * length, 0, 1),
                aspect="auto",
                interpolation="antialiased",
            )

    def _write_name(self, axes: Axes) -> None:
        axes.text(
            0.004,
            0.04,
            one_line(self.video.name, 40),
            color=COLOURS[self.index],
            weight="bold",
            transform=axes.transAxes,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )


def strip_rows(scores: Sequence[VideoScores], width: int, *, low: bool = False) -> list[Row]:
    """A row of frames for each video under the curves, every frame below its moment, and the time axis.

    With `low` frames are smaller where there are more than two videos.
    """
    cell = ALONE if len(scores) == 1 else SMALL_CELL if low and len(scores) > 2 else CELL
    end = max(video.frames / video.fps for video in scores)
    inner = width - LEFT - RIGHT
    rows = []
    for index, video in enumerate(scores):
        if video.measurements.thumbnails:
            aspect = video.size[0] / video.size[1]
            cells = round(inner / (cell / max(aspect, 1)))
            height = round(inner / cells * aspect)
            strip = _Strip(
                video=video, index=index, cells=cells, height=height, end=end, named=len(scores) > 1
            )
            rows.append(Row(height + 8, strip.draw))
    return [Row(8), *rows, Row(36, partial(_time_axis, end=end))]


def _time_axis(figure: Figure, box: Box, *, end: float) -> None:
    axes = figure.add_axes((box[0], box[1] + box[3], box[2], 1e-6))
    axes.set(xlim=(0, end), yticks=())
    axes.set_xlabel("seconds", labelpad=1)
    axes.tick_params(length=3, pad=2)
    axes.spines[["top", "left", "right"]].set_visible(False)
