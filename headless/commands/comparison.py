"""Two videos in one, and what is seen in them as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from ...video.segments import to_bytes

SIDE = 256  # px that a panel is at least high
GAP, HEADER, FOOTER = 8, 24, 48
BACKGROUND, TEXT, SWITCH, TRACK = (24, 24, 28), (230, 230, 230), (255, 170, 0), (70, 70, 78)
SMOOTH = 9  # frames over which a curve is averaged


@dataclass(frozen=True)
class Panel:
    """One video of a comparison: `frames` [T,H,W,3] in 0..1, all of one size."""

    label: str
    frames: torch.Tensor


def side_by_side(panels: Sequence[Panel], switch: int, old: str, new: str) -> torch.Tensor:
    """The videos beside one another [T,H,W,3], below them the prompt in force and how far the video is.

    Panels are enlarged by a whole factor. `switch` is the first frame under the prompt `new`.
    """
    length = min(len(panel.frames) for panel in panels)
    pictures = []
    for frame in range(length):
        switched = frame >= switch
        footer = _footer(
            _width(panels),
            text=new if switched else old,
            colour=SWITCH if switched else TEXT,
            now=frame / length,
            switch=switch / length,
        )
        picture = _framed(panels, frame, footer)
        pictures.append(torch.from_numpy(np.array(picture)))
    return torch.stack(pictures).float() / 255


def _size(panels: Sequence[Panel]) -> tuple[int, int]:
    """Width and height in pixels of an enlarged panel."""
    height, width = panels[0].frames.shape[1:3]
    factor = max(1, -(-SIDE // height))
    return width * factor, height * factor


def _width(panels: Sequence[Panel]) -> int:
    return len(panels) * (_size(panels)[0] + GAP) + GAP


def _framed(panels: Sequence[Panel], frame: int, footer: Image.Image) -> Image.Image:
    """One frame of all panels under their labels, above the footer."""
    width, height = _size(panels)
    canvas = Image.new("RGB", (_width(panels), HEADER + height + FOOTER), BACKGROUND)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for number, panel in enumerate(panels):
        left = GAP + number * (width + GAP)
        draw.text((left, 6), panel.label, TEXT, font)
        picture = Image.fromarray(to_bytes(panel.frames[frame]))
        canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left, HEADER))
    canvas.paste(footer, (0, HEADER + height))
    return canvas


def _footer(width: int, *, text: str, colour: tuple[int, int, int], now: float, switch: float) -> Image.Image:
    """The prompt in force above a bar that is filled up to `now`, with a mark at `switch` (both 0 to 1)."""
    footer = Image.new("RGB", (width, FOOTER), BACKGROUND)
    draw, left, right = ImageDraw.Draw(footer), GAP, width - GAP
    draw.text((left, 10), text, colour, ImageFont.load_default())
    bar, mark = FOOTER - 14, left + (right - left) * switch
    draw.line((left, bar, right, bar), TRACK, 4)
    draw.line((left, bar, left + (right - left) * now, bar), colour, 4)
    draw.line((mark, bar - 7, mark, bar + 7), SWITCH, 3)
    return footer


def save_curves(path: Path, seen: Mapping[str, tuple[ArrayLike, ArrayLike]], switch: int, fps: float) -> Path:
    """Draw, for each video, in how many frames around each moment the old and the new scene are seen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.2 * len(seen)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(seen), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, states) in zip(rows, seen.items(), strict=True):
        for name, values, colour in zip(("old scene", "new scene"), states, ("C0", "C1"), strict=True):
            state = np.asarray(values, float)
            axes.plot(np.arange(len(state)) / fps, _smoothed(state), color=colour, label=name)
        axes.axvline(switch / fps, color="black", linestyle=":", label="switch")
        axes.set(title=label, ylabel="share of frames", ylim=(-0.05, 1.05))
    rows[0].legend(loc="center left")
    rows[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=100)
    return path


def _smoothed(state: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean; at the borders over the frames that there are."""
    kernel, ones = np.ones(SMOOTH), np.ones(len(state))
    return np.convolve(state, kernel, "same")[: len(state)] / np.convolve(ones, kernel, "same")[: len(state)]
