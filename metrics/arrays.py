"""Small maths on features [T,D] and curves [T] whose broken frames are NaN."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def floats(values: ArrayLike) -> Array:
    """Values as an array of float64."""
    return np.asarray(values, np.float64)


def rows(values: ArrayLike) -> Array:
    """Values [T,D] as float64; one vector [D] becomes [1,D], and a row with any NaN becomes NaN as a whole.

    Raises ValueError for arrays of more dimensions.
    """
    array = np.atleast_2d(floats(values))
    if array.ndim != 2:
        raise ValueError(f"features must be [frames, dimensions], but got {list(array.shape)}.")
    return np.where(np.isfinite(array).all(1, keepdims=True), array, np.nan)


def finite(values: ArrayLike) -> Array:
    """The numbers of a curve [T], or the rows of features [T,D], that are finite."""
    array = floats(values)
    return array[np.isfinite(array) if array.ndim == 1 else np.isfinite(array).all(1)]


def mean(values: ArrayLike, window: tuple[int, int] | None = None) -> float:
    """Mean of the finite values of a curve [T] in a half-open window; NaN without any."""
    known = finite(floats(values)[slice(*(window or (None, None)))])
    return float(known.mean()) if known.size else float("nan")


def units(values: ArrayLike, centre: ArrayLike | None = None) -> Array:
    """Rows [T,D] of length 1 after subtracting `centre` [D]; NaN where nothing is left."""
    array = rows(values)
    array = array if centre is None else array - floats(centre)
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    return array / np.where(lengths > 1e-9, lengths, np.nan)


def cosines(values: ArrayLike, others: ArrayLike, centre: ArrayLike | None = None) -> Array:
    """Cosines [T,J] of all rows to all others around `centre` [D]; NaN for broken rows.

    Raises ValueError for features of different dimensions.
    """
    left, right = units(values, centre), units(others, centre)
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"features of {left.shape[1]} and {right.shape[1]} dimensions cannot be compared: "
            "use one extractor for all of them."
        )
    product: Array = left @ right.T
    return product


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
