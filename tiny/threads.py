"""One thread for the embedded model on a CPU, without changing the process for good.

The model's operations are so small that sharing one among threads costs more than it saves, the more so where other
programs want the processor: every operation then waits until all of its threads have had their turn. Four sections of
a batch of one (12 steps each, float32) took 5.9 s with one thread and 103 s with two on a busy machine with two cores,
four videos at once 8.1 s and 101 s.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _OneThread:
    """Sets torch's number of threads, which holds for the whole process, to 1 while anyone wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 1

    def begin(self) -> None:
        with self._lock:
            if not self._users:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._users += 1

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                torch.set_num_threads(self._before)


_one_thread = _OneThread()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread inside, and with as many as before afterwards.

    Uses may be nested or overlap in time: the number comes back when the last one has ended.
    """
    _one_thread.begin()
    try:
        yield
    finally:
        _one_thread.end()
