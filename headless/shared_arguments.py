"""Options that several commands have, and how single ones are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .commands.evaluate import FEATURES, EvaluateOptions
from .workflows.workflow import Setting

Value = TypeVar("Value")


def read_by(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """The type of an option whose text is read by `parse`: the sentence of its ValueError is what argparse shows."""

    def read(text: str) -> Value:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def add_workflow(command: argparse.ArgumentParser, what_is_set: str) -> None:
    """A workflow file, `--set` and `--input`."""
    command.add_argument(
        "workflow", type=Path, metavar="WORKFLOW.json", help="API format; the editor's format is converted"
    )
    command.add_argument(
        "--set",
        type=read_by(Setting.parse),
        action="append",
        default=[],
        dest="settings",
        metavar="NODE.INPUT=VALUE",
        help=what_is_set,
    )
    command.add_argument(
        "--input",
        type=Path,
        metavar="DIR",
        help="the only folder that files are loaded from (default: the folder input of the examples, or beside the workflow)",
    )


def add_features(command: argparse.ArgumentParser) -> None:
    """`--features`, `--model` and `--pretrained`: what frames are compared by."""
    command.add_argument(
        "--features",
        choices=FEATURES,
        default="pixel",
        help="what frames are compared by: clip understands the prompts and needs its weights on this machine, pixel needs none "
        "and reads no text, tiny knows the embedded model's world only (%(default)s)",
    )
    command.add_argument(
        "--model",
        default=EvaluateOptions.model,
        metavar="NAME",
        help="open_clip model for clip (%(default)s)",
    )
    command.add_argument(
        "--pretrained",
        default=EvaluateOptions.pretrained,
        metavar="TAG|FILE",
        help="its weights: a tag that is in the cache, or a .safetensors file (%(default)s)",
    )


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
