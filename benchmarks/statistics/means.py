"""How far a mean may be from the truth, whatever its values are distributed like."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .distributions import student_quantile
from .intervals import LEVEL, Interval

ROUNDS = 2000
SEED = 0

Array = NDArray[np.float64]


def mean_interval(values: ArrayLike, level: float = LEVEL, rounds: int = ROUNDS) -> Interval | None:
    """The interval of the mean of values [n] that are independent of one another; see `grouped_mean_interval`."""
    return grouped_mean_interval([[value] for value in np.asarray(values, float)], level, rounds)


def grouped_mean_interval(
    groups: Sequence[ArrayLike], level: float = LEVEL, rounds: int = ROUNDS
) -> Interval | None:
    """The interval of the mean of all values, where those of one group [n] may resemble one another.

    Groups are resampled first and then the values within them. What is resampled is the distance of the mean in its own
    standard errors (bootstrap-t), and the ends are never nearer than those of Student's t: means of skewed values need
    the first, those of a few values that differ the second. None where there are fewer than two groups, or too few
    values that differ. What is drawn depends on the groups' sizes alone. Source: Efron and Tibshirani 1993, chapter 12.
    """
    samples = [np.asarray(group, float) for group in groups if np.size(group)]
    if len(samples) < 2:
        return None
    sums = np.array([[float(group.sum()) for group in samples]])
    counts = np.array([[float(len(group)) for group in samples]])
    means, errors = _means_and_errors(sums, counts)
    mean, error = float(means[0]), float(errors[0])
    resampled = _means_and_errors(*_resampled(samples, rounds))
    low, high = _distances(resampled[0] - mean, resampled[1], level)
    farthest = student_quantile((1 + level) / 2, len(samples) - 1)
    ends = mean - max(high, farthest) * error, mean - min(low, -farthest) * error
    return ends if error and all(map(isfinite, ends)) else None


def _means_and_errors(sums: Array, counts: Array) -> tuple[Array, Array]:
    """Means and their standard errors [rounds] from the sums and the numbers of values of each group [rounds,groups]."""
    groups, total = sums.shape[1], counts.sum(1)
    means = sums.sum(1) / total
    spread = np.square(sums - counts * means[:, None]).sum(1)
    return means, np.sqrt(spread * groups / (groups - 1)) / total


def _resampled(samples: Sequence[Array], rounds: int) -> tuple[Array, Array]:
    """Sums and numbers of values [rounds,groups] of groups that are drawn, and of values that are drawn within them."""
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(len(samples), size=(rounds, len(samples)))
    sums = np.zeros(drawn.shape)
    for number, values in enumerate(samples):
        places = np.nonzero(drawn == number)
        sums[places] = values[rng.integers(len(values), size=(len(places[0]), len(values)))].sum(1)
    return sums, np.array([len(values) for values in samples], float)[drawn]


def _distances(moved: Array, errors: Array, level: float) -> Interval:
    """Both ends of how far resampled means have moved, in their own standard errors; infinite where these are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.nan_to_num(moved / errors, nan=0.0, posinf=np.inf, neginf=-np.inf)
    low, high = np.quantile(distances, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)
