"""Statistics of waits that may have been cut short before the event was seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..results import Metric

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Latencies of several switches as one.

    restricted_mean: mean wait, none counted beyond `horizon`.
    reached: share of the switches whose event was seen in the end.
    horizon: how far the mean looks, in the unit of the latencies.
    count: number of switches.
    censored: number of switches whose wait ended before the event was seen, unknown ones among them.
    unknown: number of switches of which nothing says whether the event came.
    """

    restricted_mean: float
    reached: float
    horizon: float
    count: int
    censored: int
    unknown: int = 0


def kaplan_meier(times: ArrayLike, observed: ArrayLike) -> tuple[Array, Array]:
    """Survival curve of times [n], some censored (observed False): (event times, survival after each).

    Survival is 1 before the first event time. Kaplan and Meier 1958. Raises ValueError without any time.
    """
    waits, seen = np.asarray(times, float), np.asarray(observed, bool)
    if not waits.size or waits.shape != seen.shape:
        raise ValueError(
            f"a survival curve needs as many times as flags, and at least one; got {waits.shape} and {seen.shape}."
        )
    events = np.unique(waits[seen])
    at_risk = (waits[None] >= events[:, None]).sum(1)
    happened = ((waits[None] == events[:, None]) & seen[None]).sum(1)
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


def aggregate_latencies(latencies: Iterable[Metric], horizon: float | None = None) -> Latencies:
    """Latencies of several switches as one.

    A switch whose latency is not valid counts as one that was not reached in its stretch: what nobody has seen is
    not taken for done. It is left out only where not even the length of its stretch is known. Where no latency is
    valid there is no value.

    horizon: how far the mean looks, in the unit of the metrics; None takes the longest wait, censored or not.
    """
    metrics = list(latencies)
    known = [metric for metric in metrics if metric.valid and np.isfinite(metric.value)]
    if not known:
        limit = np.nan if horizon is None else horizon
        return Latencies(restricted_mean=np.nan, reached=np.nan, horizon=limit, count=0, censored=0)
    unknown = [
        metric.details["stretch"] for metric in metrics if not metric.valid and metric.details.get("stretch")
    ]
    times = [metric.value for metric in known] + unknown
    observed = [not metric.censored for metric in known] + [False] * len(unknown)
    horizon = max(times) if horizon is None else horizon
    return Latencies(
        restricted_mean=restricted_mean(times, observed, horizon),
        reached=fraction_reached(times, observed),
        horizon=horizon,
        count=len(times),
        censored=observed.count(False),
        unknown=len(unknown),
    )


def concordance(scores: ArrayLike, times: ArrayLike, observed: ArrayLike) -> float:
    """Share of pairs of runs in which the higher score goes with the longer wait; ties count half.

    0.5 is chance, 1 perfect order. A pair counts when it is known which wait is longer: the shorter one was not
    censored. NaN without such a pair. Source: Harrell and others 1982.

    scores: [n]. times: waits [n]. observed: which of them were not censored, bool [n]. Raises ValueError for other
    shapes.
    """
    ranks, waits, seen = np.asarray(scores, float), np.asarray(times, float), np.asarray(observed, bool)
    if not ranks.shape == waits.shape == seen.shape or ranks.ndim != 1:
        raise ValueError(
            f"scores {ranks.shape}, times {waits.shape} and flags {seen.shape} must be of one length."
        )
    known = np.isfinite(ranks) & np.isfinite(waits)
    ranks, waits, seen = ranks[known], waits[known], seen[known]
    shorter = seen[:, None] & (
        (waits[:, None] < waits[None]) | ((waits[:, None] == waits[None]) & ~seen[None])
    )
    agreement = np.where(ranks[:, None] == ranks[None], 0.5, ranks[:, None] < ranks[None])
    return float(agreement[shorter].mean()) if shorter.any() else float("nan")
