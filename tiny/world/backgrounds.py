"""Paint the backgrounds of the embedded world, by day and by night."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tables import BACKGROUNDS, SIZE, check

FINE = 4  # a background is painted at this multiple of its size and averaged

Array = NDArray[Any]
Colour = tuple[float, float, float]


class Canvas:
    """A picture float [4 size,4 size,3] in 0..1 to paint on; x and y run from 0 to 1, edges are soft by a pixel."""

    def __init__(self, top: Colour, bottom: Colour, size: int) -> None:
        self.size = size
        axis = (np.arange(size * FINE, dtype=np.float32) + 0.5) / (size * FINE)
        self.y, self.x = np.meshgrid(axis, axis, indexing="ij")
        self.pixels = self._blend(top, bottom, self.y)

    @staticmethod
    def _blend(first: Colour, second: Colour, share: Array) -> Array:
        low, high = (np.asarray(colour, np.float32) for colour in (first, second))
        blended: Array = low * (1 - share[..., None]) + high * share[..., None]
        return blended

    def paint(self, colour: Colour, coverage: Array, bottom: Colour | None = None) -> None:
        """Lay a colour (running to `bottom` at the lower border) over the picture where `coverage` is 1."""
        paint = self._blend(colour, bottom or colour, self.y)
        self.pixels = self.pixels + (paint - self.pixels) * coverage[..., None]

    def below(self, edge: Array | float) -> Array:
        """Coverage of what lies lower than `edge` (y)."""
        return np.clip((self.y - edge) * self.size + 0.5, 0, 1)

    def disc(self, x: float, y: float, radius: float) -> Array:
        """Coverage of a disc."""
        return np.clip((radius - np.hypot(self.x - x, self.y - y)) * self.size + 0.5, 0, 1)

    def glow(self, x: float, y: float, width: float, height: float) -> Array:
        """Coverage of a soft spot."""
        return np.exp(-(((self.x - x) / width) ** 2) - ((self.y - y) / height) ** 2)

    def box(self, left: float, top: float, right: float, bottom: float) -> Array:
        """Coverage of a rectangle."""
        across, along = np.minimum(self.x - left, right - self.x), np.minimum(self.y - top, bottom - self.y)
        inside = np.minimum(across, along)
        return np.clip(inside * self.size + 0.5, 0, 1)

    def lamp(self, night: bool, x: float, y: float) -> None:
        """The sun by day, the moon by night."""
        if night:
            self.paint((0.45, 0.48, 0.66), 0.5 * self.glow(x, y, 0.14, 0.14))
            self.paint((0.90, 0.90, 0.80), self.disc(x, y, 0.07) * (1 - self.disc(x + 0.05, y - 0.025, 0.06)))
        else:
            self.paint((1.0, 0.96, 0.78), 0.8 * self.glow(x, y, 0.17, 0.17))
            self.paint((1.0, 0.97, 0.82), self.disc(x, y, 0.075))

    def stars(self, spots: Sequence[tuple[float, float]]) -> None:
        """Small stars, soft enough to survive compression."""
        for x, y in spots:
            self.paint((0.85, 0.87, 1.0), 0.8 * self.glow(x, y, 0.016, 0.016))


# Colours of the picture at its top and bottom, before anything else is painted.
HEAVENS = {
    ("sky", False): ((0.34, 0.62, 0.90), (0.78, 0.89, 0.96)),
    ("sky", True): ((0.05, 0.06, 0.22), (0.20, 0.20, 0.44)),
    ("desert", False): ((0.98, 0.86, 0.62), (0.98, 0.93, 0.80)),
    ("desert", True): ((0.09, 0.06, 0.17), (0.34, 0.17, 0.26)),
    ("forest", False): ((0.74, 0.88, 0.84), (0.86, 0.94, 0.86)),
    ("forest", True): ((0.05, 0.10, 0.16), (0.09, 0.18, 0.22)),
    ("sea", False): ((0.66, 0.85, 0.93), (0.99, 0.97, 0.90)),
    ("sea", True): ((0.05, 0.06, 0.16), (0.16, 0.22, 0.36)),
    ("city", False): ((0.80, 0.80, 0.86), (0.95, 0.90, 0.86)),
    ("city", True): ((0.10, 0.07, 0.18), (0.46, 0.24, 0.34)),
}


def _sky(night: bool, size: int) -> Canvas:
    canvas = Canvas(*HEAVENS["sky", night], size)
    if night:
        canvas.stars([(0.10, 0.52), (0.36, 0.10), (0.50, 0.36), (0.66, 0.14), (0.88, 0.26), (0.78, 0.52)])
    canvas.lamp(night, 0.17, 0.19)
    cloud, strength = ((0.30, 0.31, 0.52), 0.7) if night else ((0.98, 0.98, 1.0), 0.95)
    clouds = (
        (0.68, 0.38, 0.20),
        (0.84, 0.40, 0.14),
        (0.26, 0.74, 0.20),
        (0.42, 0.77, 0.15),
        (0.86, 0.86, 0.20),
    )
    for x, y, width in clouds:
        canvas.paint(cloud, strength * canvas.glow(x, y, width, 0.36 * width))
    return canvas


def _desert(night: bool, size: int) -> Canvas:
    canvas = Canvas(*HEAVENS["desert", night], size)
    if night:
        canvas.stars([(0.15, 0.12), (0.36, 0.25), (0.52, 0.10), (0.92, 0.32)])
    canvas.lamp(night, 0.76, 0.18)
    dunes = (
        (0.48 + 0.06 * np.sin(5.0 * canvas.x + 0.4), (0.89, 0.66, 0.42), (0.38, 0.25, 0.22)),
        (0.62 + 0.09 * np.sin(6.0 * canvas.x + 2.6), (0.80, 0.53, 0.30), (0.30, 0.18, 0.16)),
        (0.82 + 0.07 * np.sin(5.5 * canvas.x + 5.2), (0.69, 0.42, 0.23), (0.22, 0.12, 0.11)),
    )
    for edge, day, dark in dunes:
        canvas.paint(dark if night else day, canvas.below(edge))
    return canvas


def _forest(night: bool, size: int) -> Canvas:
    canvas = Canvas(*HEAVENS["forest", night], size)
    canvas.lamp(night, 0.82, 0.13)
    rows = (
        (0.34, 0.16, 0.16, 0.03, (0.50, 0.68, 0.54), (0.09, 0.26, 0.20)),
        (0.46, 0.22, 0.21, 0.11, (0.33, 0.52, 0.38), (0.06, 0.20, 0.14)),
        (0.62, 0.26, 0.29, 0.02, (0.20, 0.37, 0.26), (0.03, 0.13, 0.08)),
    )
    for edge, height, width, shift, day, dark in rows:
        teeth = np.abs((canvas.x + shift) / width % 1 - 0.5)  # 0 at a tree's tip
        canvas.paint(dark if night else day, canvas.below(edge + height * (2 * teeth) ** 0.8 - 0.1))
    ground = canvas.below(0.88 + 0.02 * np.sin(7 * canvas.x))
    canvas.paint((0.07, 0.12, 0.06) if night else (0.34, 0.42, 0.24), ground)
    return canvas


def _sea(night: bool, size: int) -> Canvas:
    canvas = Canvas(*HEAVENS["sea", night], size)
    canvas.lamp(night, 0.30, 0.16)
    water = ((0.07, 0.33, 0.42), (0.02, 0.14, 0.24)) if night else ((0.22, 0.66, 0.70), (0.03, 0.36, 0.46))
    canvas.paint(water[0], canvas.below(0.40), water[1])
    foam = (0.25, 0.45, 0.52) if night else (0.62, 0.88, 0.88)
    waves = ((0.47, 0.0, 0.012), (0.58, 2.0, 0.016), (0.71, 4.0, 0.020), (0.87, 1.0, 0.024))
    for y, phase, thickness in waves:
        crest = y + 0.02 * np.sin(2 * np.pi * (2 - y) * 2 * canvas.x + phase)
        canvas.paint(foam, 0.6 * np.exp(-(((canvas.y - crest) / thickness) ** 2)))
    if night:
        canvas.paint((0.55, 0.60, 0.66), 0.5 * canvas.glow(0.30, 0.52, 0.06, 0.12) * canvas.below(0.40))
    return canvas


# Left, width and top of buildings, the far row and the near one.
FAR_HOUSES = (
    (0.00, 0.14, 0.40),
    (0.16, 0.12, 0.26),
    (0.30, 0.16, 0.44),
    (0.48, 0.11, 0.22),
    (0.61, 0.17, 0.36),
    (0.80, 0.20, 0.30),
)
NEAR_HOUSES = ((-0.02, 0.22, 0.62), (0.23, 0.20, 0.50), (0.46, 0.25, 0.66), (0.74, 0.28, 0.54))


def _city(night: bool, size: int) -> Canvas:
    canvas = Canvas(*HEAVENS["city", night], size)
    canvas.lamp(night, 0.40, 0.12)
    for left, width, top in FAR_HOUSES:
        house = canvas.box(left, top, left + width, 1.1)
        canvas.paint((0.24, 0.16, 0.30) if night else (0.66, 0.64, 0.70), house)
    for left, width, top in NEAR_HOUSES:
        house = canvas.box(left, top, left + width, 1.1)
        canvas.paint((0.09, 0.08, 0.13) if night else (0.45, 0.44, 0.51), house)
        for row in range(2):
            for column in range(2):
                x, y = left + width * (0.30 + 0.40 * column), top + 0.09 + 0.13 * row
                window = canvas.box(x - 0.034, y - 0.034, x + 0.034, y + 0.034)
                canvas.paint((0.96, 0.78, 0.42) if night else (0.72, 0.80, 0.86), window)
    canvas.paint((0.05, 0.05, 0.08) if night else (0.30, 0.30, 0.34), canvas.below(0.93))
    return canvas


PAINTERS: dict[str, Callable[[bool, int], Canvas]] = {
    "sky": _sky,
    "desert": _desert,
    "forest": _forest,
    "sea": _sea,
    "city": _city,
}


@cache
def background_pixels(background: str, night: bool, scale: int = 1) -> Array:
    """An empty scene, float [64 scale,64 scale,3] in 0..1; do not write to it."""
    check("background", background, BACKGROUNDS)
    size = SIZE * scale
    fine = np.clip(PAINTERS[background](night, size).pixels, 0, 1)
    pixels: Array = fine.reshape(size, FINE, size, FINE, 3).mean((1, 3)).astype(np.float32)
    pixels.flags.writeable = False
    return pixels
