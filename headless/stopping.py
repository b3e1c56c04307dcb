"""How the command line is asked to stop: ctrl-C, and the signal by which systems end programs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # exit codes, as shells name them


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an error that ends a run wherever ctrl-C would."""


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Raises Terminated inside the block when SIGTERM arrives. Only the main thread may ask for signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
