"""`python -m framepack_transitions`, and the command `framepack-transitions`: the command line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Runs the command line and returns its exit code.

    Loading it takes seconds. Ctrl-C ends the process in that time without a traceback: there is nothing to keep yet, and
    libraries that are half loaded would turn the interrupt into errors of their own.
    """
    before = signal.signal(signal.SIGINT, _leave)
    from .headless.cli import main as run

    signal.signal(signal.SIGINT, before)
    return run()


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"Interrupted. Nothing was written.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
