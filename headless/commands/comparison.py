"""Two videos in one, and what is seen in them as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from ...video.writing import to_bytes

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
    height, width = panels[0].frames.shape[1:3]
    factor = max(1, -(-SIDE // height))
    canvas = Image.new(
        "RGB", (len(panels) * (width * factor + GAP) + GAP, HEADER + height * factor + FOOTER), BACKGROUND
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for number, panel in enumerate(panels):
        draw.text((GAP + number * (width * factor + GAP), 6), panel.label, TEXT, font)
    pictures = []
    for frame in range(length):
        for number, panel in enumerate(panels):
            picture = Image.fromarray(to_bytes(panel.frames[frame]))
            large = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
            canvas.paste(large, (GAP + number * (width * factor + GAP), HEADER))
        _draw_footer(canvas, draw, font, frame / length, switch / length, old, new)
        pictures.append(torch.from_numpy(np.array(canvas)))
    return torch.stack(pictures).float() / 255


def _draw_footer(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    now: float,
    switch: float,
    old: str,
    new: str,
) -> None:
    """The prompt in force, orange once it is the new one, above a bar with a mark at the switch."""
    top, left, right = canvas.height - FOOTER, GAP, canvas.width - GAP
    switched = now >= switch
    draw.rectangle((0, top, canvas.width, canvas.height), BACKGROUND)
    draw.text((left, top + 10), new if switched else old, SWITCH if switched else TEXT, font)
    bar = canvas.height - 14
    draw.line((left, bar, right, bar), TRACK, 4)
    draw.line((left, bar, left + (right - left) * now, bar), SWITCH if switched else TEXT, 4)
    mark = left + (right - left) * switch
    draw.line((mark, bar - 7, mark, bar + 7), SWITCH, 3)


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
