"""The options of `sweep`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .commands.evaluate import FEATURES, EvaluateOptions
from .commands.sweep.grid import Axis
from .devices import DEVICE_HELP
from .help import HelpFormatter, epilog, sweep_examples
from .place_arguments import add_places
from .tool_arguments import setting

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
        "workflow", type=Path, metavar="WORKFLOW.json", help="API format; the editor's format is converted"
    )
    sweep.add_argument(
        "--grid",
        type=_axis,
        action="append",
        required=True,
        metavar="NODE.INPUT=A,B,C",
        help="the values of an input of a node, given by id or title; a JSON list where a value holds a comma. May be repeated: "
        "every combination is run",
    )
    sweep.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        dest="settings",
        metavar="NODE.INPUT=VALUE",
        help="change an input in all runs; may be repeated",
    )
    sweep.add_argument(
        "--input",
        type=Path,
        metavar="DIR",
        help="the only folder that files are loaded from (default: the folder input of the examples, or beside the workflow)",
    )
    sweep.add_argument(
        "--out", type=Path, default=Path("sweep_output"), metavar="DIR", help="where files go (%(default)s)"
    )
    add_places(sweep)
    sweep.add_argument(
        "--features",
        choices=FEATURES,
        default="pixel",
        help="what frames are compared by: clip understands the prompts and needs its weights on this machine, pixel needs none "
        "and reads no text, tiny knows the embedded model's world only (%(default)s)",
    )
    sweep.add_argument(
        "--model",
        default=EvaluateOptions.model,
        metavar="NAME",
        help="open_clip model for clip (%(default)s)",
    )
    sweep.add_argument(
        "--pretrained",
        default=EvaluateOptions.pretrained,
        metavar="TAG|FILE",
        help="its weights: a tag that is in the cache, or a .safetensors file (%(default)s)",
    )
    sweep.add_argument("--device", metavar="DEVICE", help=DEVICE_HELP.format(default="cpu"))
    sweep.set_defaults(kind="sweep")


def _axis(text: str) -> Axis:
    try:
        return Axis.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
