"""Scores as one picture: a table, curves over time with the switches marked, and a strip of frames for each video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..results import VideoScores
from .plot_curves import curve_rows
from .plot_strips import strip_rows
from .plot_table import heading_rows, table_rows
from .rows import drawn_rows
from .style import NODE_WIDTH, WIDTH, plot_style


def plot_scores(scores: Sequence[VideoScores], width: int = WIDTH) -> NDArray[np.uint8]:
    """Draw the scores of one or more videos as a picture uint8 [H,width,3].

    Raises ValueError without a video.
    """
    if not scores:
        raise ValueError("there is nothing to plot: give the scores of at least one video.")
    with plot_style():
        return drawn_rows(
            [*table_rows(scores, width), *curve_rows(scores), *strip_rows(scores, width)], width
        )


def plot_curves(scores: Sequence[VideoScores], width: int = NODE_WIDTH) -> NDArray[np.uint8]:
    """Draw the curves and frames of one or more videos, as a picture uint8 [H,width,3] that is wider than high.

    It is made to be shown small beside the report, so it lacks the table. Raises ValueError without a video.
    """
    if not scores:
        raise ValueError("there is nothing to plot: give the scores of at least one video.")
    with plot_style():
        rows = [
            *heading_rows(scores, width),
            *curve_rows(scores, columns=2),
            *strip_rows(scores, width, low=True),
        ]
        return drawn_rows(rows, width)
