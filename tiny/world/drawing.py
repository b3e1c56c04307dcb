"""Draw scenes of the embedded world: a background, and the subject over it at any subpixel position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backgrounds import background_pixels
from .scenes import Scene, Subject
from .tables import COLOURS, SIZE, SUBPIXELS

OUTLINE = 1.5  # px
PAD = 6  # px around the picture that drawing may touch
INK = {False: (0.07, 0.07, 0.12), True: (0.93, 0.93, 0.98)}  # of the outline, by day and by night

Array = NDArray[Any]


def render(scene: Scene, x: float = SIZE / 2, y: float = SIZE / 2) -> Array:
    """Draw a scene with its subject's centre at (x, y) px: uint8 [64,64,3]."""
    frame: Array = draw([(0, scene)], np.array([[x, y]]))[0]
    return frame


def draw(scenes: Sequence[tuple[int, Scene]], positions: Array) -> Array:
    """Draw frames uint8 [T,64,64,3] of scenes by first frame, the subjects at `positions` [T,2] px."""
    ends = [first for first, _ in scenes[1:]] + [len(positions)]
    parts = [_draw_scene(scene, positions[first:end]) for (first, scene), end in zip(scenes, ends)]
    return np.concatenate(parts)


def _draw_scene(scene: Scene, positions: Array) -> Array:
    plain = np.pad(background_pixels(scene.background, scene.night), ((PAD, PAD), (PAD, PAD), (0, 0)))
    frames = np.repeat(np.round(plain[None] * 255).astype(np.uint8), len(positions), axis=0)
    if scene.subject is not None:
        _draw_subject(frames, plain=plain, subject=scene.subject, ink=INK[scene.night], positions=positions)
    return np.ascontiguousarray(frames[:, PAD:-PAD, PAD:-PAD])


def _draw_subject(
    frames: Array, *, plain: Array, subject: Subject, ink: tuple[float, float, float], positions: Array
) -> None:
    half = subject.pixels / 2
    if positions.size and (positions.min() < half or positions.max() > SIZE - half):
        raise ValueError(
            f"A {subject.size} subject {2 * half:g} px wide would leave the picture at "
            f"{positions.min():g}..{positions.max():g}: keep its centre between {half:g} and "
            f"{SIZE - half:g}."
        )
    fills, silhouettes = masks(subject.shape, subject.pixels)
    patch = fills.shape[-1]
    eighths = np.round(positions * SUBPIXELS).astype(int)
    corner, phase = eighths // SUBPIXELS - patch // 2 + PAD, eighths % SUBPIXELS
    rows, columns = (corner[:, axis, None] + np.arange(patch) for axis in (1, 0))
    rows, columns = rows[:, :, None], columns[:, None, :]
    fill, silhouette = (table[phase[:, 1], phase[:, 0], :, :, None] for table in (fills, silhouettes))
    shade = np.linspace(1.12, 0.84, patch, dtype=np.float32)[:, None, None]  # light comes from above
    colour = np.clip(np.asarray(COLOURS[subject.colour], np.float32) * shade, 0, 1)
    mixed = (
        plain[rows, columns] * (1 - silhouette)
        + np.asarray(ink, np.float32) * (silhouette - fill)
        + colour * fill
    )
    frames[np.arange(len(positions))[:, None, None], rows, columns] = np.round(mixed * 255).astype(np.uint8)


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
def masks(shape: str, pixels: int) -> tuple[Array, Array]:
    """Coverage of a shape without and with its outline, each [8 y,8 x,P,P] by its centre's subpixel."""
    patch = pixels + 4 + pixels % 2
    offsets = np.arange(SUBPIXELS) / SUBPIXELS
    grid = np.arange(patch) + 0.5 - patch // 2 - offsets[:, None]
    y, x = np.broadcast_arrays(grid[:, None, :, None], grid[None, :, None, :])
    distance = DISTANCES[shape](x / pixels, y / pixels) * pixels
    fill, silhouette = (np.clip(0.5 - distance - inset, 0, 1).astype(np.float32) for inset in (OUTLINE, 0.0))
    return fill, silhouette
