"""Where the subjects of a clip are, and how much of each can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drawing import Layer
from .scenes import Subject
from .tables import SIZE

Array = NDArray[Any]


def boxes_of(subjects: list[tuple[int, Subject | None]], positions: Array) -> Array:
    """Boxes [T,4] of a subject: left, top, right and bottom in px, cut at the picture's borders.

    `subjects` are what it looks like by first frame; nan where it is not there or out of sight.
    """
    half = np.full(len(positions), np.nan)
    for first, subject in subjects:
        half[first:] = subject.pixels / 2 if subject is not None else np.nan
    boxes = np.concatenate([positions - half[:, None], positions + half[:, None]], axis=1)
    inside: Array = np.all(boxes[:, 2:] > 0, axis=1) & np.all(boxes[:, :2] < SIZE, axis=1)
    return np.where(inside[:, None], np.clip(boxes, 0, SIZE), np.nan)


def visible_shares(pair: tuple[Subject | None, Subject | None], positions: tuple[Array, Array]) -> Array:
    """Share of each subject's silhouette that is seen [2,T], by the borders and by the first one in front of the second."""
    covered = [
        np.zeros((len(way), SIZE, SIZE), np.float32) if subject is None else _coverage(subject, way)
        for subject, way in zip(pair, positions)
    ]
    whole = [_area(subject) for subject in pair]
    seen = [covered[0], covered[1] * (1 - covered[0])]
    return np.stack([np.minimum(part.sum((1, 2)) / area, 1) for part, area in zip(seen, whole)])


def _coverage(subject: Subject, positions: Array) -> Array:
    pad = SIZE
    shown = np.isfinite(positions).all(1)
    layer = Layer.place(subject, np.clip(positions[shown], -pad / 2, SIZE + pad / 2), pad, 1)
    picture = np.zeros((len(positions), SIZE + 2 * pad, SIZE + 2 * pad), np.float32)
    frames = np.flatnonzero(shown)[:, None, None]
    picture[frames, layer.rows, layer.columns] = layer.silhouette[..., 0]
    return picture[:, pad:-pad, pad:-pad]


def _area(subject: Subject | None) -> float:
    if subject is None:
        return 1.0
    centre = np.full((1, 2), SIZE / 2)
    return float(_coverage(subject, centre).sum())
