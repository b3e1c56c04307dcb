"""Small maths on features [T, D] and curves [T] whose broken frames are NaN."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def rows(values: ArrayLike) -> Array:
    """Values [T, D] as float64; one vector [D] becomes [1, D], and a row with any NaN all NaN."""
    values = np.atleast_2d(np.asarray(values, np.float64))
    if values.ndim != 2:
        raise ValueError(f"features must be [frames, dimensions], but got {list(values.shape)}.")
    return np.where(np.isfinite(values).all(1, keepdims=True), values, np.nan)


def finite(values: Array) -> Array:
    """The rows or numbers that are finite."""
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(1)]


def mean(values: ArrayLike, window: tuple[int, int] | None = None) -> float:
    """Mean of the finite values of a curve [T] in a half-open window; NaN without any."""
    values = finite(np.asarray(values, np.float64)[slice(*(window or (None, None)))])
    return float(values.mean()) if values.size else float("nan")


def units(values: ArrayLike, centre: ArrayLike | None = None) -> Array:
    """Rows [T, D] of length 1 after subtracting `centre` [D]; NaN where nothing is left."""
    values = rows(values)
    values = values if centre is None else values - np.asarray(centre, np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 1e-9, lengths, np.nan)


def cosines(values: ArrayLike, others: ArrayLike, centre: ArrayLike | None = None) -> Array:
    """Cosines [T, J] of all rows to all others around `centre` [D]; NaN for broken rows."""
    values, others = units(values, centre), units(others, centre)
    if values.shape[1] != others.shape[1]:
        raise ValueError(
            f"features of {values.shape[1]} and {others.shape[1]} dimensions cannot be compared: "
            "use one extractor for all of them."
        )
    return values @ others.T


def pieces(window: tuple[int, int], length: int) -> list[tuple[int, int]]:
    """A half-open window cut into pieces of `length`; what remains at the end joins the last piece."""
    start, end = window
    count = max((end - start) // length, 1)
    edges = [start + length * number for number in range(count)] + [end]
    return list(pairwise(edges)) if end > start else []


def runs(flags: ArrayLike) -> list[tuple[int, int]]:
    """The half-open ranges in which bool flags [T] are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, np.int8), [0]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
