"""Progress and interruption of a run outside ComfyUI; inside, the host's own are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

ProgressCallback = Callable[[int, int, Mapping[str, Any]], None]

_callback: ContextVar[ProgressCallback | None] = ContextVar("framepack_progress", default=None)


class Interrupted(Exception):
    """Raised by a progress callback to stop the run at this step."""


@contextmanager
def progress_reporting(callback: ProgressCallback | None) -> Iterator[None]:
    """Send every report made inside the block to `callback(step, total, info)`; None silences them."""
    token = _callback.set(callback)
    try:
        yield
    finally:
        _callback.reset(token)


def report(step: int, total: int, info: Mapping[str, Any] | None = None) -> None:
    """Tell the callback that `step` of `total` steps are done.

    Steps are counted over the whole run, from 1 to total. `info` holds more about the step: its numbers
    and words may be shown. Whatever the callback raises, Interrupted among them, passes through.
    """
    callback = _callback.get()
    if callback is not None:
        callback(step, total, info or {})
