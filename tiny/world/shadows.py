"""Shadows of the embedded world's subjects, for clips whose truth is known by how they were drawn.

Training and the benchmarks that are shipped never see one: a shadow is what a subject leaves behind when it is taken out of a
picture badly, and evaluators are tried on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drawing import Layer, draw
from .scenes import Scene

DARKEST = 0.35  # share of the light that a shadow's middle takes
DROP, FLATNESS = 0.3, 0.19  # of the width of its patch: how far its middle lies below, and half its height
HALF_WIDTH = 0.5  # of the width of its patch

Array = NDArray[Any]


def draw_shadowed(scenes: list[tuple[int, Scene]], positions: Array, second: Array | None = None) -> Array:
    """Draw frames as `draw` does, with a soft shadow below every subject."""
    return draw(scenes, positions, second, shade=cast_shadow)


def draw_shadow_alone(
    scenes: list[tuple[int, Scene]], positions: Array, second: Array | None = None
) -> Array:
    """Draw the shadows of subjects that are not there themselves."""

    def shade(frames: Array, layer: Layer) -> None:
        cast_shadow(frames, layer)
        layer.fill[:], layer.silhouette[:] = 0, 0

    return draw(scenes, positions, second, shade=shade)


def cast_shadow(frames: Array, layer: Layer) -> None:
    """Darken padded frames uint8 [T,H,W,3] below a subject, in place; its patch holds the whole of its shadow."""
    patch = layer.fill.shape[1]
    y, x = np.meshgrid(*[(np.arange(patch) + 0.5) / patch - 0.5] * 2, indexing="ij")
    distance = (x / HALF_WIDTH) ** 2 + ((y - DROP) / FLATNESS) ** 2
    light = 1 - DARKEST * np.clip(1 - distance, 0, 1)[None, :, :, None]
    pixels = layer.frame, layer.rows, layer.columns
    frames[pixels] = np.round(frames[pixels] * light).astype(np.uint8)
