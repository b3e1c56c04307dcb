"""What an interval is, and how the end of one is found."""

from __future__ import annotations

from collections.abc import Callable

LEVEL = 0.95  # of every interval that the benchmarks print

Interval = tuple[float, float]

HALVINGS = 60  # of a range, until rounding ends it


def solve(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a function that rises from `low` to `high` reaches a value; the nearer end where it never does."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2
