"""Waiting for a server that is gone in the middle of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from .progress import ProgressBars
from .server import Server, ServerGone

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

PATIENCE_SECONDS, POLL_SECONDS = 300.0, 1.0


def patiently(ask: Callable[[], Result], server: Server, bars: ProgressBars) -> Result:
    """What `ask` gives; while the server is gone it is asked again, as long as its patience says, or PATIENCE_SECONDS.

    Raises Interrupted where `bars` say that the run is no longer wanted.
    """
    seconds = PATIENCE_SECONDS if server.patience is None else server.patience
    until = time.monotonic() + seconds
    said_so = False
    while True:
        bars.check()
        try:
            return ask()
        except ServerGone as error:
            if time.monotonic() > until:
                raise
            if not said_so:
                logger.warning("%s Waiting for it, %g s at most.", error, seconds)
            said_so = True
        time.sleep(POLL_SECONDS)
