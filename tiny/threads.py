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

_lock = threading.Lock()
_depth = 0
_outside = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread inside, and with as many as before afterwards.

    The number holds for the whole process, so it comes back when the last of nested or simultaneous uses has ended.
    """
    global _depth, _outside
    with _lock:
        if _depth == 0:
            _outside = torch.get_num_threads()
            torch.set_num_threads(1)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                torch.set_num_threads(_outside)
