"""Rows of TransitionBench: what the episodes of each arm and case amount to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from ..metrics.survival import fraction_reached, restricted_mean
from . import statistics
from .arms import PLAIN
from .episodes import SWITCHES
from .transition import Result

POOLED = "all"  # the case of rows over all switches
BOOTSTRAP_SEED = 0

Episodes = Sequence[Result]


def rows(results: Sequence[Result], section: int) -> list[dict[str, Any]]:
    """One row for each arm and case and, pooled over the switches, each arm; `section` in frames.

    Only episodes that were right before the switch count. They are the same ones for every arm.
    """
    valid = [result for result in results if result.valid]
    cases = list(dict.fromkeys(result.case for result in results))
    made = []
    for arm in dict.fromkeys(result.arm for result in results):
        for case in (POOLED, *cases):
            strata = [name for name in cases if name in SWITCHES] if case == POOLED else [case]
            made.append(
                {
                    "technique": arm,
                    "case": case,
                    **_row(_pick(valid, arm, strata), _pick(valid, PLAIN.name, strata), section),
                }
            )
    return made


def latencies(results: Episodes, section: int) -> tuple[list[int], list[bool]]:
    """Frames until the new scene is there, and whether it was: if not, the wait ends with the section."""
    waits = [result.measures.latency for result in results]
    return [section if wait is None else wait for wait in waits], [wait is not None for wait in waits]


def _pick(results: Episodes, arm: str, strata: Sequence[str]) -> list[list[Result]]:
    """The results of an arm, by case."""
    return [[result for result in results if result.arm == arm and result.case == case] for case in strata]


def _row(strata: list[list[Result]], plain: list[list[Result]], section: int) -> dict[str, Any]:
    every = [result for stratum in strata for result in stratum]
    gains = [
        [mine.measures.success - theirs.measures.success for mine, theirs in zip(*pair)]
        for pair in zip(strata, plain)
    ]
    switched = [result for result in every if result.case in SWITCHES]
    times = latencies(switched, section)
    return {
        "n": len(every),
        "success": _mean(every, lambda result: result.measures.success),
        "success_ci": _interval([[result.measures.success for result in stratum] for stratum in strata]),
        "gain": fmean(all_gains) if (all_gains := [gain for stratum in gains for gain in stratum]) else None,
        "gain_ci": _interval(gains),
        "lasting": _mean(every, lambda result: result.measures.held[-1]),
        "relapse": _mean(
            [result for result in every if result.measures.success],
            lambda result: not result.measures.held[-1],
        ),
        "tl_frames": restricted_mean(*times, section) if switched else None,
        "reached": fraction_reached(*times) if switched else None,
        "remaining": _mean(every, lambda result: result.measures.remaining),
        "continuity": _mean(every, lambda result: result.measures.jump),
        "continuity_before": _mean(every, lambda result: result.measures.jump_before),
        "continuity_after": _mean(every, lambda result: result.measures.jump_after),
        "artefacts": _mean(every, lambda result: result.measures.artefacts),
        "evaluations": _mean(every, lambda result: result.evaluations),
        "seconds": _mean(every, lambda result: result.seconds),
    }


def _mean(results: Episodes, value: Callable[[Result], float | None]) -> float | None:
    values = [number for result in results if (number := value(result)) is not None]
    return fmean(values) if values else None


def _interval(strata: Sequence[Sequence[float]]) -> list[float] | None:
    return list(statistics.bootstrap_interval(strata, BOOTSTRAP_SEED)) if any(strata) else None
