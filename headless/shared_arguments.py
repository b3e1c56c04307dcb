"""The options that say where runs are made."""

from __future__ import annotations

import argparse


def add_places(command: argparse._ActionsContainer) -> None:
    """`--server` and `--dask`: where the runs are made."""
    command.add_argument(
        "--server",
        action="append",
        metavar="URL",
        help="queue to this running ComfyUI (default: run in this process); may be repeated: the runs are divided among the "
        "servers, and a server that is gone loses the one that it was at to another",
    )
    command.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="run on the workers of the dask.distributed cluster whose scheduler is at this address, which need this package; "
        "--server is then the ComfyUI beside each worker, as it sees it",
    )
