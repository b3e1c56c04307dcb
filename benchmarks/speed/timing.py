"""Times that can be compared on a machine that does other things beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a piece of work takes, and what it needs.

    seconds: the least time.
    peak: bytes of a GPU's memory beyond what was there; None on a CPU.
    first: the time of the first call, which is not counted.
    """

    seconds: float
    peak: int | None
    first: float


def clock_for(device: torch.device) -> Callable[[], float]:
    """What times are read from: with one thread on a CPU the processor's time, of which other programs take no part."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def interleaved(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    on_done: Callable[[str], None] = lambda name: None,
) -> dict[str, Timing]:
    """The least time of every work over `rounds`, in each of which all are done once, so that all meet the same machine.

    A first round, which is not counted, warms up.
    """
    clock = clock_for(device)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    peaks: dict[str, int | None] = {}
    for _ in range(rounds + 1):
        for name, work in works.items():
            took, peaks[name] = _once(work, device, clock)
            seconds[name].append(took)
            on_done(name)
    return {
        name: Timing(seconds=min(took[1:]), peak=peaks[name], first=took[0]) for name, took in seconds.items()
    }


def _once(
    work: Callable[[], object], device: torch.device, clock: Callable[[], float]
) -> tuple[float, int | None]:
    on_gpu = device.type == "cuda"
    before = 0
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    began = clock()
    work()
    if on_gpu:
        torch.cuda.synchronize(device)
    took = clock() - began
    return took, torch.cuda.max_memory_allocated(device) - before if on_gpu else None
