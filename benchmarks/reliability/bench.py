"""Renders that are killed at random moments until they end, compared with one that was left alone."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

import torch

from ...samplers.store.record import Record
from .trials import Render, Trial, loading_seconds, start

LOADING = 5
GROWTH = 1.05  # of the memory of a ComfyUI, beyond which it is a fault


def signals_of(platform: str) -> tuple[signal.Signals, ...]:
    """What one process can tell another to end by: on Windows there is one way, and no ctrl-C for one process alone."""
    names = ("SIGTERM",) if platform == "win32" else ("SIGKILL", "SIGTERM", "SIGINT")
    return tuple(getattr(signal, name) for name in names)


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """What is tried.

    render: the render that is left alone; the others lie beside it.
    kills: how often a render is stopped in all.
    seed: of the moments and the signals.
    start: makes one start, which is stopped after so many seconds, by a signal as a rule; None lets it end.
    """

    render: Render
    kills: int
    seed: int = 0
    start: Callable[[Render, float | None, signal.Signals], Trial] = start


@dataclass(kw_only=True)
class Found:
    """What came of it.

    trials: all starts that were stopped, or ended before they could be.
    renders: by the name of its folder, how each finished render differs from the one that was left alone; empty for in nothing.
    seconds: what that one took.
    whole: what the latest render took that nothing has stopped; where others use the machine too, that changes.
    loading: what its command takes to be loaded.
    """

    trials: list[Trial] = field(default_factory=list)
    renders: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    whole: float = 0.0
    loading: float = 0.0

    @property
    def kills(self) -> int:
        """How often a render was stopped."""
        return sum(bool(trial.signal) for trial in self.trials)

    @property
    def memory(self) -> tuple[int, int] | None:
        """What the ComfyUI took as a rule in the first quarter of the trials and in the last one, in bytes; None for nobody knows."""
        known = [trial.memory for trial in self.trials if trial.memory is not None]
        part = len(known) // 4
        return (int(median(known[:part])), int(median(known[-part:]))) if part else None

    def faults(self) -> list[str]:
        """All that went wrong, in words."""
        of_trials = [f"{trial.signal or 'end'}: {fault}" for trial in self.trials for fault in trial.faults()]
        of_renders = [f"{name}: {what}" for name, differences in self.renders.items() for what in differences]
        first, last = self.memory or (0, 0)
        of_memory = (
            [f"the memory has grown from {first:,} to {last:,} bytes"] if last > GROWTH * first else []
        )
        return of_trials + of_renders + of_memory


def run(bench: Reliability, on_trial: Callable[[Found], None] = lambda found: None) -> Found:
    """Kill renders until enough signals were sent and the last one has ended.

    `on_trial` is called after every start with what was found so far. Raises RuntimeError where the render that is left alone fails,
    and where one of an earlier run is there: what it has finished would be taken over, and nothing would be left to kill.
    """
    if bench.render.out.exists():
        raise RuntimeError(
            f"{bench.render.out.parent} holds an earlier run; name another folder, or remove this one"
        )
    found, moments = Found(loading=loading_seconds(bench.render)), random.Random(bench.seed)
    _let_interrupts_through()
    alone = bench.start(bench.render, None, signal.SIGTERM)
    if not alone.finished:
        raise RuntimeError(f"the render failed before it was disturbed: see {bench.render.out}")
    found.seconds = found.whole = alone.seconds
    number = 0
    while found.kills < bench.kills:
        number += 1
        render = replace(bench.render, out=bench.render.out.with_name(f"render_{number:03}"))
        _to_its_end(bench, render, found, moments=moments, on_trial=on_trial)
        found.renders[render.out.name] = differences(render, bench.render)
    return found


def _to_its_end(
    bench: Reliability,
    render: Render,
    found: Found,
    *,
    moments: random.Random,
    on_trial: Callable[[Found], None],
) -> None:
    """Start a render again and again, each time with a signal on its way until enough were sent."""
    while True:
        seconds = _moment(found, moments) if found.kills < bench.kills else None
        trial = bench.start(render, seconds, moments.choice(signals_of(sys.platform)))
        found.trials.append(trial)
        on_trial(found)
        if trial.finished:
            found.whole = found.whole if trial.found else trial.seconds
            return
        if not trial.signal:
            raise RuntimeError(f"a start of the render failed by itself: see {render.out}")


def _moment(found: Found, moments: random.Random) -> float:
    """A random moment of a render; one in LOADING falls anywhere, the others after the command is loaded."""
    anywhere = moments.randrange(LOADING) == 0
    return moments.uniform(0.0 if anywhere else min(found.loading, found.whole / 2), found.whole)


def _let_interrupts_through() -> None:
    """Have processes that are started from here end by ctrl-C, also where this one was told to ignore it."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def differences(render: Render, other: Render) -> list[str]:
    """How a finished render differs from another one: sections, trace and file."""
    own, theirs = render.records, other.records
    keys = {entry.key for entry in theirs.entries()}
    unequal = [key for key in keys if not _equal(own.read(key), theirs.read(key))]
    found = [f"{len(unequal)} of {len(keys)} records differ"] if unequal else []
    found += ["the trace differs"] if render.trace() != other.trace() else []
    return found + (["the file differs"] if render.video() != other.video() else [])


def _equal(own: Record | None, other: Record | None) -> bool:
    if own is None or other is None or own.tensors.keys() != other.tensors.keys():
        return False
    return all(torch.equal(own.tensors[name], other.tensors[name]) for name in own.tensors)
