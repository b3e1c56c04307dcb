"""Statistics of waits that may have been cut short before the event was seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .results import Metric

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Latencies:
    """Latencies of `count` switches, `censored` among them: mean restricted to `horizon`, share reached."""

    restricted_mean: float
    reached: float
    horizon: float
    count: int
    censored: int


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


def aggregate_latencies(latencies: Iterable[Metric], horizon: float | None = None) -> Latencies:
    """Latencies of several switches as one; those without a value are left out.

    horizon: how far the mean looks, in the metrics' unit; None = the longest wait, seen through or cut short.
    """
    known = [latency for latency in latencies if latency.valid and np.isfinite(latency.value)]
    if not known:
        return Latencies(np.nan, np.nan, np.nan if horizon is None else horizon, 0, 0)
    times, observed = [metric.value for metric in known], [not metric.censored for metric in known]
    horizon = max(times) if horizon is None else horizon
    return Latencies(
        restricted_mean(times, observed, horizon),
        fraction_reached(times, observed),
        horizon,
        len(known),
        observed.count(False),
    )


def concordance(scores: ArrayLike, times: ArrayLike, observed: ArrayLike) -> float:
    """Share of pairs of runs in which the higher score [n] goes with the longer wait [n]; ties count half.

    0.5 is chance. A pair counts when it is known which wait is longer: the shorter one was seen through.
    NaN without such a pair. Source: Harrell and others 1982.
    """
    scores, times = np.asarray(scores, float), np.asarray(times, float)
    observed = np.asarray(observed, bool)
    if not scores.shape == times.shape == observed.shape or scores.ndim != 1:
        raise ValueError(
            f"scores {scores.shape}, times {times.shape} and flags {observed.shape} must be of one length."
        )
    known = np.isfinite(scores) & np.isfinite(times)
    scores, times, observed = scores[known], times[known], observed[known]
    shorter = observed[:, None] & (
        (times[:, None] < times[None]) | ((times[:, None] == times[None]) & ~observed[None])
    )
    agreement = np.where(scores[:, None] == scores[None], 0.5, scores[:, None] < scores[None])
    return float(agreement[shorter].mean()) if shorter.any() else float("nan")
