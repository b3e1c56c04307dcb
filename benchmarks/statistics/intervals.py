"""What an interval is, and how the end of one is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

LEVEL = 0.95  # of every interval that the benchmarks print

Interval = tuple[float, float]

V = TypeVar("V")

HALVINGS = 60  # of a range, until rounding ends it


def ends_of(interval: Callable[[Sequence[V]], Interval | None], values: Sequence[V]) -> list[float] | None:
    """The ends of the interval of values, as JSON holds them; None without values, and where they tell no interval."""
    found = interval(values) if values else None
    return None if found is None else list(found)


def solve(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a function that rises from `low` to `high` reaches a value; the nearer end where it never does."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2
