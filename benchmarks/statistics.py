"""Statistics of TransitionBench: bootstrap intervals of paired episodes, and how well scores rank them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDS = 2000
LEVEL = 0.95

Array = NDArray[np.float64]


def bootstrap_interval(
    strata: Sequence[ArrayLike], seed: int, rounds: int = ROUNDS, level: float = LEVEL
) -> tuple[float, float]:
    """Percentile interval of the mean of all values, each stratum [n] resampled within itself.

    Without values it is nan. What is drawn depends on the seed and on the strata's sizes alone, so the
    interval of differences between two techniques, episode by episode, is that of a paired bootstrap.
    """
    samples = [np.asarray(values, float) for values in strata]
    count = sum(len(values) for values in samples)
    if not count:
        return float("nan"), float("nan")
    sums = np.zeros(rounds)
    for number, values in enumerate(samples):
        if len(values):
            drawn = np.random.default_rng([seed, number]).integers(len(values), size=(rounds, len(values)))
            sums += values[drawn].sum(1)
    low, high = np.quantile(sums / count, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
