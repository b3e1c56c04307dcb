"""The work of a benchmark in pieces, and the processes that do it and say how far they are."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import SimpleQueue, get_context
from typing import Any

import torch

from ....samplers.progress import progress_reporting
from ....tiny.bundle import load_tiny
from ....tiny.threads import one_thread
from ..arms import Arm
from ..episodes import make_episode
from .batch import EpisodeBatch, Recording
from .results import Result, ResultFile, ResultKeys
from .sampling import BenchSettings, EpisodeSampler


@dataclass(frozen=True, kw_only=True)
class Task:
    """A batch of episodes of one case, to be measured under some arms.

    settings: how they are sampled.
    keys: how results are named.
    case, seeds: the episodes.
    arms: what they are sampled with.
    recording: which pictures are kept.
    """

    settings: BenchSettings
    keys: ResultKeys
    case: str
    seeds: range
    arms: tuple[Arm, ...]
    recording: Recording = Recording()

    @property
    def past_steps(self) -> int:
        """Solver steps of the sections that all arms share."""
        return self.settings.shared * self.settings.steps

    @property
    def arm_steps(self) -> int:
        """Solver steps of the other sections under one arm."""
        return self.settings.treated * self.settings.steps

    @property
    def steps(self) -> int:
        """Solver steps of the whole task."""
        return self.past_steps + len(self.arms) * self.arm_steps if self.arms else 0

    def without(self, kept: ResultFile[Result]) -> Task:
        """The task without the arms whose results are all there."""
        missing = [
            arm
            for arm in self.arms
            if any(self.keys.key(self.case, seed, arm, self.seeds) not in kept.results for seed in self.seeds)
        ]
        return replace(self, arms=tuple(missing))


@dataclass(frozen=True)
class Progress:
    """How far a task is.

    task: its number.
    steps: solver steps that are done, of `Task.steps`.
    results: those of an arm that has just been finished, otherwise empty.
    """

    task: int
    steps: int
    results: tuple[Result, ...] = ()


OnProgress = Callable[[Progress], None]


def run_tasks(tasks: Sequence[Task], sampler: EpisodeSampler, workers: int, on_progress: OnProgress) -> None:
    """Do all tasks; `on_progress` is called after every solver step and with the results of every arm.

    With more `workers` than one they are done by processes that load the embedded model themselves. Each computes
    with one thread, so that the results do not depend on their number. What `on_progress` raises ends the run.
    """
    if min(workers, len(tasks)) > 1:
        _run_in_processes(tasks, min(workers, len(tasks)), on_progress)
        return
    with one_thread():
        for number, task in enumerate(tasks):
            run_task(number, task, sampler, on_progress)


def run_task(number: int, task: Task, sampler: EpisodeSampler, on_progress: OnProgress) -> None:
    """Sample and measure a task's episodes under its arms; the sections until the switch is met are sampled once."""
    batch = EpisodeBatch(sampler, [make_episode(task.case, seed) for seed in task.seeds])
    done = 0
    if any(arm.conditions.history != "new" for arm in task.arms):
        with _steps_reported(number, done, task.past_steps, on_progress):
            batch.past("old")
    done += task.past_steps
    for arm in task.arms:
        with _steps_reported(number, done, task.arm_steps, on_progress):
            results = batch.measure(arm, task.keys, task.recording)
        done += task.arm_steps
        on_progress(Progress(number, done, tuple(results)))


@contextmanager
def _steps_reported(number: int, before: int, steps: int, on_progress: OnProgress) -> Iterator[None]:
    """Let what the sampler reports inside count as `steps` solver steps of task `number`, after those `before`."""

    def on_step(step: int, total: int, info: Any) -> None:
        on_progress(Progress(number, before + steps * step // total))

    with progress_reporting(on_step):
        yield


Event = Progress | Exception


def _run_in_processes(tasks: Sequence[Task], workers: int, on_progress: OnProgress) -> None:
    context = get_context("spawn")
    events: SimpleQueue[Event] = context.SimpleQueue()
    with context.Pool(workers, _start_worker, (events,)) as pool:
        pool.starmap_async(_run_in_worker, enumerate(tasks), chunksize=1)
        unfinished = sum(len(task.arms) for task in tasks)
        while unfinished:
            event = events.get()
            if isinstance(event, Exception):
                raise event
            unfinished -= bool(event.results)
            on_progress(event)


_events: SimpleQueue[Event] | None = None


def _start_worker(events: SimpleQueue[Event]) -> None:
    """An interrupt is for the parent, which ends its workers; the parent alone writes to the log."""
    global _events  # noqa: PLW0603 - a process of the pool has no other place for what it is started with
    _events = events
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)


def _run_in_worker(number: int, task: Task) -> None:
    if _events is None:
        raise RuntimeError("this runs in a process that _start_worker has prepared")
    try:
        run_task(number, task, _worker_sampler(task.settings), _events.put)
    except Exception as error:
        _events.put(error)


@cache
def _worker_sampler(settings: BenchSettings) -> EpisodeSampler:
    return EpisodeSampler(load_tiny(layout=settings.layout), settings)


def available_cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
