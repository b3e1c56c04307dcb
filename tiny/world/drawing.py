"""Draw scenes of the embedded world: a background, and up to two subjects over it at any subpixel position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backgrounds import background_pixels
from .scenes import Scene, Subject
from .tables import COLOURS, SIZE, SIZES, SUBPIXELS

OUTLINE = 1.5  # px
PAD = 6  # px around the picture that drawing may touch
INK = {False: (0.07, 0.07, 0.12), True: (0.93, 0.93, 0.98)}  # of the outline, by day and by night

Array = NDArray[Any]


def render(scene: Scene, x: float = SIZE / 2, y: float = SIZE / 2) -> Array:
    """Draw a scene with its only subject's centre at (x, y) px: uint8 [64,64,3].

    Raises ValueError where the subject would leave the picture.
    """
    half = scene.subject.pixels / 2 if scene.subject else 0
    if min(x, y) < half or max(x, y) > SIZE - half:
        raise ValueError(
            f"A subject {2 * half:g} px wide would leave the picture at ({x:g}, {y:g}): keep its centre between "
            f"{half:g} and {SIZE - half:g}."
        )
    frame: Array = draw([(0, scene)], np.array([[x, y]]))[0]
    return frame


def draw(
    scenes: Sequence[tuple[int, Scene]],
    positions: Array,
    second: Array | None = None,
    *,
    scale: int = 1,
    shade: Callable[[Array, Layer], None] | None = None,
) -> Array:
    """Draw frames uint8 [T,64 scale,64 scale,3] of scenes by first frame.

    `positions` and `second` [T,2] are the centres of the scenes' two subjects in px of a picture of 64 px; what lies beyond
    the picture is cut off. `shade` changes the frames below each subject before it is drawn (see shadows.py).
    """
    second = np.full(positions.shape, np.nan) if second is None else second
    ends = [first for first, _ in scenes[1:]] + [len(positions)]
    return np.concatenate(
        [
            _draw_scene(scene, (positions[first:end], second[first:end]), scale, shade)
            for (first, scene), end in zip(scenes, ends)
        ]
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """A subject on its way over frames: what it looks like, and which pixels of each padded frame it may cover.

    `frame` [T,1,1], `rows` [T,P,1] and `columns` [T,1,P] index the pixels; `fill` and `silhouette` [T,P,P,1] say how much of
    each is covered without and with the outline.
    """

    subject: Subject
    frame: Array
    rows: Array
    columns: Array
    fill: Array
    silhouette: Array

    @classmethod
    def place(cls, subject: Subject, positions: Array, pad: int, scale: int) -> Layer:
        """The layer of a subject at positions [T,2], on frames with `pad` px around them."""
        fills, silhouettes = masks(subject.shape, subject.pixels * scale, scale)
        patch = fills.shape[-1]
        eighths = np.round(positions * scale * SUBPIXELS).astype(int)
        corner, phase = eighths // SUBPIXELS - patch // 2 + pad, eighths % SUBPIXELS
        rows, columns = (corner[:, axis, None] + np.arange(patch) for axis in (1, 0))
        fill, silhouette = (table[phase[:, 1], phase[:, 0], :, :, None] for table in (fills, silhouettes))
        return cls(
            subject=subject,
            frame=np.arange(len(positions))[:, None, None],
            rows=rows[:, :, None],
            columns=columns[:, None, :],
            fill=fill,
            silhouette=silhouette,
        )

    def over(self, behind: Array, ink: tuple[float, float, float]) -> Array:
        """The layer's pixels uint8 [T,P,P,3] over what lies behind them, float [T,P,P,3] in 0..1."""
        light = np.linspace(1.12, 0.84, self.fill.shape[1], dtype=np.float32)[:, None, None]  # from above
        colour = np.clip(np.asarray(COLOURS[self.subject.colour], np.float32) * light, 0, 1)
        mixed = (
            behind * (1 - self.silhouette)
            + np.asarray(ink, np.float32) * (self.silhouette - self.fill)
            + colour * self.fill
        )
        pixels: Array = np.round(mixed * 255).astype(np.uint8)
        return pixels


def _draw_scene(
    scene: Scene,
    positions: tuple[Array, Array],
    scale: int,
    shade: Callable[[Array, Layer], None] | None,
) -> Array:
    pad = max(PAD * scale, *(_overhang(way, scale) for way in positions))
    plain = np.pad(background_pixels(scene.background, scene.night, scale), ((pad, pad), (pad, pad), (0, 0)))
    frames = np.repeat(np.round(plain[None] * 255).astype(np.uint8), len(positions[0]), axis=0)
    bare = True
    for (subject, _), way in reversed(list(zip(scene.slots, positions))):
        if subject is None or not len(way):
            continue
        layer = Layer.place(subject, way, pad, scale)
        if shade is not None:
            shade(frames, layer)
        bare &= shade is None
        pixels = layer.frame, layer.rows, layer.columns
        behind = plain[layer.rows, layer.columns] if bare else frames[pixels] / np.float32(255)
        frames[pixels] = layer.over(behind, INK[scene.night])
        bare = False
    return np.ascontiguousarray(frames[:, pad:-pad, pad:-pad])


def _overhang(positions: Array, scale: int) -> int:
    """How far drawing may reach beyond the picture, in its pixels, for subjects at positions [T,2]."""
    reach = max(SIZES.values()) / 2 + PAD
    beyond = np.maximum(reach - positions, positions + reach - SIZE)
    return int(np.ceil(scale * np.nan_to_num(beyond).max(initial=0)))


def _polygon(corners: Sequence[tuple[float, float]]) -> Callable[[Array, Array], Array]:
    def distance(x: Array, y: Array) -> Array:
        nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, bool)
        for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0])):
            dx, dy = x1 - x0, y1 - y0
            along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
            nearest = np.minimum(nearest, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * dx / (dy or 1.0))
        return np.where(inside, -nearest, nearest)

    return distance


def _star(points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    angles = np.pi * np.arange(2 * points) / points
    radii = np.where(np.arange(2 * points) % 2, inner, outer)
    return [(float(r * np.sin(a)), float(-r * np.cos(a))) for r, a in zip(radii, angles)]


# Signed distance to the border of each shape, as wide as the unit and negative inside.
DISTANCES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.49,
    "square": _polygon([(-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45)]),
    "triangle": _polygon([(-0.5, 0.44), (0.0, -0.48), (0.5, 0.44)]),
    "star": _polygon(_star(4, 0.5, 0.22)),
}


@cache
def masks(shape: str, pixels: int, scale: int = 1) -> tuple[Array, Array]:
    """Coverage of a shape without and with its outline, each [8 y,8 x,P,P] by its centre's subpixel."""
    patch = pixels + 4 + pixels % 2
    offsets = np.arange(SUBPIXELS) / SUBPIXELS
    grid = np.arange(patch) + 0.5 - patch // 2 - offsets[:, None]
    y, x = np.broadcast_arrays(grid[:, None, :, None], grid[None, :, None, :])
    distance = DISTANCES[shape](x / pixels, y / pixels) * pixels
    fill, silhouette = (
        np.clip(0.5 - distance - inset, 0, 1).astype(np.float32) for inset in (OUTLINE * scale, 0.0)
    )
    return fill, silhouette
