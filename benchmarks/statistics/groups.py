"""Shares of videos that come in groups, such as those from one start image, which resemble one another."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .distributions import student_quantile
from .intervals import LEVEL, Interval
from .pairs import paired_interval
from .shares import share_interval


def grouped_mean(groups: Sequence[Sequence[float]]) -> float | None:
    """The mean of all values of groups [n], each of them alike; None where there are none."""
    values = [value for group in groups for value in group]
    return fmean(values) if values else None


def grouped_share_interval(groups: Sequence[ArrayLike], level: float = LEVEL) -> Interval:
    """The interval of the share of successes, 0 or 1 each, where those of one group [n] may resemble one another.

    It is the exact interval of as many independent videos as these are worth. Source: Korn and Graubard 1998.
    """
    values, worth = _joined(groups), 1 / design_effect(groups, level)
    return share_interval(worth * values.sum(), worth * len(values), level)


def grouped_gain_interval(groups: Sequence[ArrayLike], level: float = LEVEL) -> Interval:
    """The interval of the mean of gains, each 1, 0 or -1, where those of one group [n] may resemble one another.

    It is the score interval of as many independent pairs as these are worth, see `paired_interval`.
    """
    values, worth = _joined(groups), 1 / design_effect(groups, level)
    gained, lost = (worth * int((values == sign).sum()) for sign in (1, -1))
    return paired_interval(gained, lost, worth * len(values), level)


def design_effect(groups: Sequence[ArrayLike], level: float = LEVEL) -> float:
    """How many values of groups [n] are worth one that is independent of all others, at least 1.

    It is the variance of the mean by whole groups over that by single values, times what the small number of groups adds
    to the uncertainty. Where all values are equal nothing tells how alike a group is, and each counts as a single value.
    """
    samples = [np.asarray(group, float) for group in groups if np.size(group)]
    values = _joined(samples)
    count, number = len(values), len(samples)
    spread = np.square(values - values.mean()).sum() / (count - 1) if count > 1 else 0.0
    if number < 2 or not spread:
        return count / max(number, 1)
    moved = np.array([(group - values.mean()).sum() for group in samples])
    between = np.square(moved).sum() * number / (number - 1)
    few, many = (student_quantile((1 + level) / 2, size - 1) for size in (number, count))
    return max(float(between / (count * spread)) * (few / many) ** 2, 1.0)


def _joined(groups: Sequence[ArrayLike]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *(np.asarray(group, float).ravel() for group in groups)])
