"""Where techniques found the concepts that they looked for: the maps of a trace, side by side, as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...metrics.reporting.style import INK, SMALL, WIDTH, new_figure, picture_of, plot_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAP, GAP, TITLE, LEFT = 150, 10, 26, 46  # px: height of a map, space between maps, titles, the left border


def plot_concepts(trace: Mapping[str, Any], width: int = WIDTH) -> NDArray[np.uint8] | None:
    """A row of maps for each section in which concepts were looked for, uint8 [H,width,3]; None without any.

    A row has, for every concept, its map over the start frame and over the last one, of the run's first video: yellow where
    it was found.
    """
    rows = [
        (number, section["concepts"])
        for number, section in enumerate(trace["sections"], 1)
        if section.get("concepts")
    ]
    if not rows:
        return None
    height = len(rows) * (MAP + TITLE + GAP)
    with plot_style():
        figure = new_figure(width, height)
        for row, (number, concepts) in enumerate(rows):
            _draw_row(figure, number, concepts, top=row * (MAP + TITLE + GAP))
        return picture_of(figure)


def _draw_row(figure: Figure, number: int, concepts: Mapping[str, Any], *, top: int) -> None:
    """Draw the maps of one section, its number before the first title."""
    width, height = (round(size * figure.dpi) for size in figure.get_size_inches())
    maps = [
        (f"{concept_word(name)}, {frame}", np.array(videos[0], dtype=float))
        for name, frames in concepts.items()
        for frame, videos in frames.items()
    ]
    left = LEFT
    for place, (title, shown) in enumerate(maps):
        wide = round(MAP * shown.shape[1] / shown.shape[0])
        box = (left / width, 1 - (top + TITLE + MAP) / height, wide / width, MAP / height)
        axes = figure.add_axes(box)
        axes.imshow(shown, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        words = f"section {number}: {title}" if place == 0 else title
        axes.set_title(words, loc="left", fontsize=SMALL, pad=4, color=INK)
        axes.set(xticks=[], yticks=[])
        left += wide + GAP


def concept_word(name: str) -> str:
    """What a concept, or what else chooses tokens, is called on its technique's node: the last part of the first of its keys."""
    return name.split("+", maxsplit=1)[0].rsplit("/", maxsplit=1)[-1]
