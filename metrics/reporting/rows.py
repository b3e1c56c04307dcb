"""A plot as rows below one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .style import new_figure, picture_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT, RIGHT = 58, 14  # px: beside the rows

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Row:
    """A row of a plot.

    height: in px.
    draw: draws it, given the figure and the row's (left, bottom, width, height) as shares of the figure; None leaves
    it empty.
    """

    height: int
    draw: Callable[[Figure, Box], None] | None = None


def drawn_rows(rows: Sequence[Row], width: int) -> NDArray[np.uint8]:
    """Rows below one another, as a picture uint8 [H,width,3]."""
    height = sum(row.height for row in rows)
    figure = new_figure(width, height)
    top = height
    for row in rows:
        top -= row.height
        if row.draw is not None:
            row.draw(
                figure, (LEFT / width, top / height, (width - LEFT - RIGHT) / width, row.height / height)
            )
    return picture_of(figure)
