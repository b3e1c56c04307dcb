"""The look of all plots: colours, dashes, fonts, and how a figure becomes a picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 1000  # px
NODE_WIDTH = 760  # px: of a plot that a node shows
DPI = 100
SMALL = 8.5  # font size in points
LETTER = 6.3  # px: the width of a letter of that size
# Okabe and Ito's colours, which all kinds of colour vision tell apart; lines differ in their dashes as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
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


@contextmanager
def plot_style() -> Iterator[None]:
    """Matplotlib's settings for a plot, while it is drawn."""
    import matplotlib

    settings: Any = {"font.family": installed_fonts(), "font.size": SMALL, "text.parse_math": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Where no font holds a letter it is drawn as a box, which says enough.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def installed_fonts() -> list[str]:
    """Those of FONTS that this machine has."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return [name for name in FONTS if name in installed]


def new_figure(width: int, height: int) -> Figure:
    """An empty white figure of so many px."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")


def picture_of(figure: Figure) -> NDArray[np.uint8]:
    """The figure as a picture uint8 [H,W,3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = cast("Any", FigureCanvasAgg(figure))  # matplotlib says nothing about its types here
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
