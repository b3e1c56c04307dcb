"""Measures what a study asks for batch by batch, and keeps each as soon as it is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from ....samplers.progress import progress_reporting
from ....tiny.threads import one_thread
from .results import L, ResultFile

OnSteps = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class KeptBatch(Generic[L]):
    """Episodes that are sampled together.

    name: what they are called while they are sampled.
    keys: the keys of their results.
    measured: samples and measures them; the results are in the order of the keys.
    steps: the solver steps that this takes, which progress counts; 0 where it counts the batch as one.
    """

    name: str
    keys: Sequence[str]
    measured: Callable[[], Sequence[L]]
    steps: int = 0


def run_batches(
    kept: ResultFile[L], batches: Sequence[KeptBatch[L]], on_steps: OnSteps = lambda done, total, name: None
) -> list[L]:
    """Measure the batches that are not kept yet and return all results; a run can be interrupted and begun again.

    `on_steps(done, total, name)` is called after every solver step of a batch that tells how many it takes, and after every batch.
    """
    counts = [batch.steps or 1 for batch in batches]
    for number, batch in enumerate(batches):
        on_step = _steps_after(on_steps, sum(counts[:number]), sum(counts), batch.name)
        if not all(key in kept.results for key in batch.keys):
            with one_thread(), progress_reporting(on_step if batch.steps else None):
                kept.add(batch.measured())
        on_step(counts[number], counts[number], {})
    return [kept.results[key] for batch in batches for key in batch.keys]


def _steps_after(on_steps: OnSteps, before: int, total: int, name: str) -> Callable[[int, int, Any], None]:
    """Lets the steps of a batch count after those `before`."""
    return lambda step, of, info: on_steps(before + step, total, name)
