"""Counts of what was right, by the name of the question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

CONFIDENCE = 0.95


class Tally:
    """Right answers and questions asked by name, and measured values by name."""

    def __init__(self) -> None:
        self.right: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, answers: Iterable[bool]) -> None:
        """Count answers to a question."""
        answers = list(answers)
        self.right[name] += sum(map(bool, answers))
        self.asked[name] += len(answers)

    def measure(self, name: str, values: Iterable[float]) -> None:
        """Keep measured values."""
        self.values.setdefault(name, []).extend(values)

    def share(self, name: str) -> float | None:
        """Share of right answers, None where nothing was asked."""
        return self.right[name] / self.asked[name] if self.asked[name] else None

    def names(self) -> list[str]:
        """The questions that were asked."""
        return [name for name, count in self.asked.items() if count]


def exact_interval(right: int, asked: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share by Clopper and Pearson (1934), two-sided."""
    tail = (1 - confidence) / 2
    low = 0.0 if right == 0 else _solve(lambda p: 1 - _at_most(right - 1, asked, p), tail)
    high = 1.0 if right == asked else _solve(lambda p: -_at_most(right, asked, p), -tail)
    return low, high


def _at_most(right: int, asked: int, share: float) -> float:
    """Probability of at most so many right answers."""
    if share <= 0 or share >= 1:
        return float(share <= 0)
    logs = [
        math.lgamma(asked + 1)
        - math.lgamma(k + 1)
        - math.lgamma(asked - k + 1)
        + k * math.log(share)
        + (asked - k) * math.log1p(-share)
        for k in range(right + 1)
    ]
    return math.fsum(map(math.exp, logs))


def _solve(rising: Callable[[float], float], wanted: float) -> float:
    """Where a function that rises over 0..1 reaches a value."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2
