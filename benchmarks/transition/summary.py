"""Rows of TransitionBench: what the episodes of each arm and case amount to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

from ...metrics.scoring.survival import fraction_reached, restricted_mean
from .. import statistics
from .arms import PLAIN
from .episodes import CHANGES, SWITCHES
from .running.results import Result

POOLED = "all"  # the case of rows over all switches

Episodes = Sequence[Result]
R = TypeVar("R")  # the results of a study
Stratum = Mapping[int, Result]  # the episodes of one case by seed


def rows(results: Episodes, section: int) -> list[dict[str, Any]]:
    """One row for each arm and case and, pooled over the switches, each arm; `section` in frames.

    Only episodes count that were right before the switch, under every arm: they are the same ones for all.
    """
    arms, cases = (
        list(dict.fromkeys(getattr(result, name) for result in results)) for name in ("arm", "case")
    )
    valid = {arm: {(r.case, r.seed): r for r in results if r.arm == arm and r.valid} for arm in arms}
    common = sorted(set.intersection(*(set(by_key) for by_key in valid.values()))) if valid else []
    made = []
    for arm in arms:
        for case in (POOLED, *cases):
            strata = [name for name in cases if name in SWITCHES] if case == POOLED else [case]
            mine, plain = (_pick(valid.get(name, {}), common, strata) for name in (arm, PLAIN.name))
            made.append({"technique": arm, "case": case, **_row(mine, plain, section)})
    return made


def latencies(results: Episodes, section: int) -> tuple[list[int], list[bool]]:
    """Frames until the new scene is there, and whether it was: if not, the wait ends with the section."""
    waits = [result.measures.latency for result in results]
    return [section if wait is None else wait for wait in waits], [wait is not None for wait in waits]


def _pick(
    results: Mapping[tuple[str, int], Result], common: Sequence[tuple[str, int]], cases: Sequence[str]
) -> list[Stratum]:
    """Results by case and seed as strata, of the episodes in `common` alone."""
    return [
        {seed: results[case, seed] for of, seed in common if of == case and (of, seed) in results}
        for case in cases
    ]


def _row(strata: Sequence[Stratum], plain: Sequence[Stratum], section: int) -> dict[str, Any]:
    every = [result for stratum in strata for result in stratum.values()]
    switched = [result for result in every if result.case in CHANGES]
    times = latencies(switched, section)
    pairs = [
        (mine[seed], theirs[seed])
        for mine, theirs in zip(strata, plain)
        for seed in sorted(mine.keys() & theirs.keys())
    ]
    return {
        "n": len(every),
        **share("success", every, lambda result: result.measures.success),
        **paired("gain", statistics.gain_interval, pairs, lambda result: float(result.measures.success)),
        "lasting": _mean(every, lambda result: result.measures.held[-1]),
        "relapse": _mean(
            [result for result in every if result.measures.success],
            lambda result: not result.measures.held[-1],
        ),
        "tl_frames": restricted_mean(*times, section) if switched else None,
        "reached": fraction_reached(*times) if switched else None,
        "remaining": _mean(every, lambda result: result.measures.remaining),
        "continuity": _mean(every, lambda result: result.measures.jump),
        **paired("jump_gain", statistics.mean_interval, pairs, lambda result: result.measures.jump),
        "continuity_before": _mean(every, lambda result: result.measures.jump_before),
        "continuity_after": _mean(every, lambda result: result.measures.jump_after),
        "artefacts": _mean(every, lambda result: result.measures.artefacts),
        **paired("artefacts_gain", statistics.mean_interval, pairs, lambda result: result.measures.artefacts),
        "size": _mean(every, lambda result: result.measures.size),
        **share("gone", every, lambda result: result.measures.gone),
        **share("other", every, lambda result: result.measures.other),
        "evaluations": _mean(every, lambda result: result.evaluations),
        "seconds": _mean(every, lambda result: result.seconds),
    }


def share(name: str, results: Sequence[R], value: Callable[[R], bool | None]) -> dict[str, Any]:
    """In how many of the episodes that have it something is so, with its interval."""
    every = [so for result in results if (so := value(result)) is not None]
    found = statistics.share_interval(sum(every), len(every))
    return {name: fmean(every) if every else None, f"{name}_ci": list(found) if every else None}


def counted_share(name: str, results: Sequence[R], value: Callable[[R], bool | None]) -> dict[str, Any]:
    """A share and how many episodes have what it is of."""
    known = sum(value(result) is not None for result in results)
    return {**share(name, results, value), f"{name}_n": known}


def paired(
    name: str,
    interval: Callable[[Sequence[float]], statistics.Interval | None],
    pairs: Sequence[tuple[R, R]],
    value: Callable[[R], float | None],
) -> dict[str, Any]:
    """How much more of a value there is than under the plain sampler, over the episodes in which both have it.

    The plain sampler is not compared with itself.
    """
    gains = [
        more - less
        for mine, theirs in pairs
        if mine is not theirs and (more := value(mine)) is not None and (less := value(theirs)) is not None
    ]
    return {
        name: fmean(gains) if gains else None,
        f"{name}_ci": statistics.ends_of(interval, gains),
        f"{name}_n": len(gains),
    }


def _mean(results: Episodes, value: Callable[[Result], float | None]) -> float | None:
    values = [number for result in results if (number := value(result)) is not None]
    return fmean(values) if values else None
