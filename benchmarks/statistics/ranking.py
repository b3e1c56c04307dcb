"""How well scores rank what they score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Chance that one of the values that should be high beats one that should be low, ties counting half.

    The area under the ROC curve (Mann and Whitney's U over n*m). It is nan without values on either side.
    """
    positive, negative = np.asarray(positive, float), np.asarray(negative, float)
    if not positive.size or not negative.size:
        return float("nan")
    above = ranks(np.concatenate([positive, negative]))[: len(positive)].sum()
    return float((above - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's correlation of two lists of values; nan for fewer than two or where all are equal."""
    first, second = ranks(first), ranks(second)
    if len(first) < 2 or not (np.ptp(first) and np.ptp(second)):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def ranks(values: ArrayLike) -> Array:
    """Ranks from 1 on of values [n]; equal ones share the mean of theirs."""
    values = np.asarray(values, float)
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[group]
