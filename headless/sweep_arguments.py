"""The options of `sweep`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .commands.sweep.grid import Axis
from .devices import DEVICE_HELP
from .help import HelpFormatter, epilog, sweep_examples
from .shared_arguments import add_features, add_places, add_workflow, read_by

if TYPE_CHECKING:
    from .tool_arguments import Commands


def add_sweep(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`sweep`: a workflow with every combination of some values."""
    sweep = commands.add_parser(
        "sweep",
        parents=[common],
        help="run a workflow with every combination of some values",
        description="Runs a workflow once for every combination of the values in --grid, measures what each run makes, and shows "
        "everything in one table, one contact sheet and one plot. Run again, it goes on where it stopped: finished "
        "runs are not made again.",
        epilog=epilog(*sweep_examples()),
        formatter_class=HelpFormatter,
    )
    sweep.add_argument(
        "--grid",
        type=read_by(Axis.parse),
        action="append",
        required=True,
        metavar="NODE.INPUT=A,B,C",
        help="the values of an input of a node, given by id or title; a JSON list where a value holds a comma. May be repeated: "
        "every combination is run",
    )
    add_workflow(sweep, "change an input in all runs; may be repeated")
    sweep.add_argument(
        "--out", type=Path, default=Path("sweep_output"), metavar="DIR", help="where files go (%(default)s)"
    )
    add_places(sweep)
    add_features(sweep)
    sweep.add_argument("--device", metavar="DEVICE", help=DEVICE_HELP.format(default="cpu"))
    sweep.set_defaults(kind="sweep")
