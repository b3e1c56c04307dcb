"""Waiting for a server that is gone in the middle of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from .server import ServerGone

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

PATIENCE_SECONDS, POLL_SECONDS = 300.0, 1.0


def patiently(ask: Callable[[], Result]) -> Result:
    """What `ask` gives; while the server is gone it is asked again, for PATIENCE_SECONDS at most."""
    until = time.monotonic() + PATIENCE_SECONDS
    said_so = False
    while True:
        try:
            return ask()
        except ServerGone as error:
            if time.monotonic() > until:
                raise
            if not said_so:
                logger.warning("%s Waiting for it, %g s at most.", error, PATIENCE_SECONDS)
            said_so = True
        time.sleep(POLL_SECONDS)
