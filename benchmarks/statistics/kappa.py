"""Kappa: how far two judges agree on yes and no beyond what chance would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .distributions import normal_quantile
from .intervals import LEVEL, Interval, solve

ROUNDS, SEED = 2000, 0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """How often two judges both say yes, differ, and both say no."""

    both: int
    differ: int
    neither: int

    @property
    def total(self) -> int:
        return self.both + self.differ + self.neither

    @property
    def yes(self) -> float:
        """Share of yes in the answers of both; nan without answers."""
        return (2 * self.both + self.differ) / (2 * self.total) if self.total else float("nan")


def kappa(counts: Counts) -> float:
    """Agreement beyond chance: 1 always, 0 as by chance, below 0 less than that.

    The intraclass form, Scott's pi: chance is two judges who say yes as often as both together do. It is nan where all
    answers are the same, since then there is nothing to agree on.
    """
    spread = counts.yes * (1 - counts.yes)
    return 1 - counts.differ / (2 * counts.total * spread) if spread > 0 else float("nan")


def independent_interval(counts: Counts, level: float = LEVEL) -> Interval:
    """All kappas that a goodness-of-fit test does not reject, for answers that do not depend on one another.

    It keeps its level for small numbers, and has a width where all answers agree. Donner and Eliasziw, Statistics in
    Medicine 11 (1992), 1511-1519. It is nan where kappa is.
    """
    middle = kappa(counts)
    if not np.isfinite(middle):
        return float("nan"), float("nan")
    yes, most = counts.yes, normal_quantile((1 + level) / 2) ** 2
    least = -min(yes / (1 - yes), (1 - yes) / yes)
    low = solve(lambda value: -_misfit(counts, value), -most, least, middle)
    return low, solve(lambda value: _misfit(counts, value), most, middle, 1.0)


def _misfit(counts: Counts, value: float) -> float:
    """Pearson's chi square of the counts under a kappa, at the observed share of yes."""
    yes, no = counts.yes, 1 - counts.yes
    shared = yes * no * value
    expected = counts.total * np.array([yes * yes + shared, 2 * yes * no - 2 * shared, no * no + shared])
    seen = np.array([counts.both, counts.differ, counts.neither], float)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(seen == expected, 0, (seen - expected) ** 2 / expected)
    return float(parts.sum())


def clustered_interval(first: Sequence[bool], second: Sequence[bool], clusters: Sequence[str]) -> Interval:
    """Percentile interval of kappa when whole clusters are drawn anew, with fixed draws.

    clusters: for each answer the name of its cluster; answers about the same picture depend on one another.
    It is nan where no draw has answers of both kinds.
    """
    names, members = np.unique(np.asarray(clusters), return_inverse=True)
    table = np.zeros((len(names), 3))
    np.add.at(table, (members, 2 - np.add(first, second, dtype=int)), 1)
    drawn = np.random.default_rng(SEED).integers(len(names), size=(ROUNDS, len(names)))
    values = _kappas(table[drawn].sum(1))
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _kappas(counts: Array) -> Array:
    """Kappa of many rows [n,3] of both, differ, neither."""
    both, differ, _ = counts.T
    total = counts.sum(1)
    yes = (2 * both + differ) / (2 * total)
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Array = np.where(yes * (1 - yes) > 0, 1 - differ / (2 * total * yes * (1 - yes)), np.nan)
    return values


def kappa_interval(first: Sequence[bool], second: Sequence[bool], clusters: Sequence[str]) -> Interval:
    """The wider of both intervals on each side.

    The one that draws clusters anew is empty where all agree and too short with few of them; the one that does not know
    of clusters is too short where an error repeats within one.
    """
    alone = independent_interval(counted(first, second))
    together = clustered_interval(first, second, clusters)
    return float(np.fmin(alone[0], together[0])), float(np.fmax(alone[1], together[1]))


def counted(first: Sequence[bool], second: Sequence[bool]) -> Counts:
    """The counts of two judges' answers to the same questions, in the same order."""
    pairs = list(zip(first, second, strict=True))
    both, neither = sum(a and b for a, b in pairs), sum(not a and not b for a, b in pairs)
    return Counts(both, len(pairs) - both - neither, neither)
