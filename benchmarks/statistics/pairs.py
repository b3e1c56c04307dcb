"""How far the difference of two shares may be from the truth, where both are of the same episodes."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from .distributions import normal_quantile
from .intervals import LEVEL, Interval, solve

SMALLEST = 1e-300  # stands for 0 where it would be divided by


def paired_interval(gained: float, lost: float, total: float, level: float = LEVEL) -> Interval:
    """The score interval of the difference (gained - lost) / total over `total` pairs. Without pairs it is -1 to 1.

    gained: pairs in which the second one alone succeeds. lost: pairs in which the first one alone does. All three may be
    fractions of wholes.

    It is not empty where no pair differs: without any among n it is +-z^2 / (n + z^2). Source: Tango 1998. Raises
    ValueError where more pairs differ than there are.
    """
    if min(gained, lost) < 0 or gained + lost > total:
        raise ValueError(f"{gained} pairs gained and {lost} lost are not in 0..{total}.")
    if not total:
        return -1.0, 1.0
    z = normal_quantile((1 + level) / 2)

    def too_high(difference: float) -> float:
        return -_score(difference, gained, lost, total)

    found = (gained - lost) / total
    return solve(too_high, -z, -1.0, found), solve(too_high, z, found, 1.0)


def gain_interval(gains: ArrayLike) -> Interval:
    """`paired_interval` of gains [n], each 1, 0 or -1."""
    values = np.asarray(gains, float)
    return paired_interval(int((values > 0).sum()), int((values < 0).sum()), len(values))


def _score(difference: float, gained: float, lost: float, total: float) -> float:
    """Distance of what was found from a true `difference`, in standard deviations that are likely if it is true."""
    square = 2 * _lost_share(difference, gained, lost, total) + difference * (1 - difference)
    distance = gained - lost - total * difference
    return distance / sqrt(max(total * square, SMALLEST))


def _lost_share(difference: float, gained: float, lost: float, total: float) -> float:
    """The most likely share of lost pairs if the shares of gained and lost ones differ by `difference`."""
    b = (2 * total - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    return (sqrt(max(b * b - 8 * total * c, 0.0)) - b) / (4 * total)
