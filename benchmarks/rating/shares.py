"""The interval of a share."""

from __future__ import annotations

from math import sqrt

NORMAL_95 = 1.959963984540054  # two-sided


def share_interval(count: int, total: int, quantile: float = NORMAL_95) -> tuple[float, float]:
    """Wilson's score interval of `count` in `total` independent answers; it has a width where all are alike."""
    share, spread = count / total, quantile**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = quantile * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
