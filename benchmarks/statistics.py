"""Statistics of TransitionBench: censored latencies, and bootstrap intervals of paired episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDS = 2000
LEVEL = 0.95

Array = NDArray[np.float64]


def kaplan_meier(times: ArrayLike, observed: ArrayLike) -> tuple[Array, Array]:
    """Survival curve of times [n], some censored (observed False): (event times, survival after each).

    Survival is 1 before the first event time. Kaplan and Meier 1958. Raises ValueError without any time.
    """
    times, observed = np.asarray(times, float), np.asarray(observed, bool)
    if not times.size or times.shape != observed.shape:
        raise ValueError(
            f"a survival curve needs as many times as flags, and at least one; got {times.shape} and "
            f"{observed.shape}."
        )
    events = np.unique(times[observed])
    at_risk = (times[None] >= events[:, None]).sum(1)
    happened = ((times[None] == events[:, None]) & observed[None]).sum(1)
    return events, np.cumprod(1 - happened / at_risk)


def restricted_mean(times: ArrayLike, observed: ArrayLike, horizon: float) -> float:
    """Mean wait, none counted beyond `horizon`: the area below the survival curve up to there."""
    events, survival = kaplan_meier(times, observed)
    inside = events < horizon
    edges = np.concatenate([[0.0], events[inside], [horizon]])
    return float(np.diff(edges) @ np.concatenate([[1.0], survival[inside]]))


def fraction_reached(times: ArrayLike, observed: ArrayLike) -> float:
    """Share to which the event has happened in the end, by the survival curve."""
    _, survival = kaplan_meier(times, observed)
    return float(1 - survival[-1]) if survival.size else 0.0


def bootstrap_interval(
    strata: Sequence[ArrayLike], seed: int, rounds: int = ROUNDS, level: float = LEVEL
) -> tuple[float, float]:
    """Percentile interval of the mean of all values, each stratum [n] resampled within itself.

    Without values it is nan. What is drawn depends on the seed and on the strata's sizes alone, so the
    interval of differences between two techniques, episode by episode, is that of a paired bootstrap.
    """
    strata = [np.asarray(values, float) for values in strata]
    count = sum(len(values) for values in strata)
    if not count:
        return float("nan"), float("nan")
    sums = np.zeros(rounds)
    for number, values in enumerate(strata):
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
