"""A contact sheet: some frames of a video side by side, with the sections they belong to."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from ...video.segments import to_bytes

FRAMES = 12
LABEL_HEIGHT = 18
GAP = 2
BACKGROUND, TEXT, BORDER, SWITCH = (24, 24, 28), (230, 230, 230), (90, 90, 100), (255, 170, 0)


@dataclass(frozen=True)
class Row:
    """One video: `frames` [T,H,W,3], where sections after the first begin, and where the prompt switches.

    numbers: which frames of the video these are; empty where they are all.
    prompts: from which frame on each prompt is in force, written in a line of its own; empty for no such line.
    """

    name: str
    frames: torch.Tensor
    borders: Sequence[int] = ()
    switch: int | None = None
    numbers: Sequence[int] = field(default=(), kw_only=True)
    prompts: Sequence[tuple[int, str]] = field(default=(), kw_only=True)


def contact_sheet(rows: Sequence[Row], columns: int = FRAMES, min_cell: int = 96) -> Image.Image:
    """Draws every row as `columns` frames in even distances, under each its number, between sections a line.

    Small frames are enlarged by whole factors to at least `min_cell` pixels in height.
    """
    strips = [_strip(row, columns, min_cell) for row in rows]
    sheet = Image.new(
        "RGB", (max(strip.width for strip in strips), sum(strip.height for strip in strips)), BACKGROUND
    )
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def save_sheet(path: Path, rows: Sequence[Row]) -> Path:
    """Writes the contact sheet of these videos as PNG and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(rows).save(path, format="PNG")
    return path


def _strip(row: Row, columns: int, min_cell: int) -> Image.Image:
    places = _even_numbers(len(row.frames), columns)
    numbers = row.numbers or range(len(row.frames))
    factor = max(1, -(-min_cell // row.frames.shape[1]))
    height, width = (side * factor for side in row.frames.shape[1:3])
    lines = 3 if row.prompts else 2
    strip = Image.new("RGB", (len(places) * (width + GAP), height + lines * LABEL_HEIGHT), BACKGROUND)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default()
    previous, last = 0, -1
    for position, place in enumerate(places):
        number = numbers[place]
        left, section = position * (width + GAP), bisect_right(row.borders, number)
        picture = Image.fromarray(to_bytes(row.frames[place])).resize(
            (width, height), Image.Resampling.NEAREST
        )
        strip.paste(picture, (left, LABEL_HEIGHT))
        draw.text((left + 2, LABEL_HEIGHT + height + 3), str(number), TEXT, font)
        switches = row.switch is not None and last < row.switch <= number
        colour = SWITCH if switches else BORDER
        if section != previous:
            draw.line((left - GAP, 0, left - GAP, strip.height), colour, GAP)
        if position == 0 or section != previous:
            words = (
                row.name if position == 0 else "",
                f"section {section + 1}",
                "switch" if switches else "",
            )
            draw.text((left + 2, 3), "  ".join(filter(None, words)), SWITCH if switches else TEXT, font)
        for text in (text for first, text in row.prompts if last < first <= number):
            draw.text((left + 2, 2 * LABEL_HEIGHT + height + 3), text, SWITCH if switches else TEXT, font)
        previous, last = section, number
    return strip


def _even_numbers(frames: int, columns: int) -> list[int]:
    """Up to `columns` different frame numbers from the first to the last, in even distances."""
    return torch.linspace(0, frames - 1, min(columns, frames)).round().int().tolist()
