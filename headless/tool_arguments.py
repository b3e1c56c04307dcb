"""The options of the commands that make no videos, and how single options are read."""

from __future__ import annotations

import argparse
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from .help import CONVERT_EXAMPLES, SECTIONS_EXAMPLES, HelpFormatter, epilog
from .workflows.workflow import Setting

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_convert(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`convert`: workflows of older versions."""
    convert = commands.add_parser(
        "convert",
        parents=[common],
        help="mend a workflow saved with an older version",
        description="Gives the nodes of a workflow file, in the editor's format or the API's, the ids that they have "
        "now: the sampler was called FramePackSampler, as other packs call theirs. Only nodes of this pack are changed.",
        epilog=epilog(*CONVERT_EXAMPLES),
        formatter_class=HelpFormatter,
    )
    convert.add_argument(
        "workflow", type=Path, metavar="OLD.json", help="the saved workflow; it is not changed"
    )
    convert.add_argument(
        "--out", type=Path, metavar="NEW.json", help="where the mended one goes (default: OLD.converted.json)"
    )
    convert.set_defaults(kind="convert")


def add_sections(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`sections`: finished sections on disk."""
    sections = commands.add_parser(
        "sections",
        parents=[common],
        help="say what finished sections take on disk, or remove them",
        description="Finished sections are kept so that a run can go on, and hold its pictures. This says how many lie in "
        "a folder; --limit removes those that were not used for the longest time. Sections of running jobs stay.",
        epilog=epilog(*SECTIONS_EXAMPLES),
        formatter_class=HelpFormatter,
    )
    sections.add_argument(
        "folder", type=Path, metavar="DIR", help="such as output/sections; the --out of a run does too"
    )
    sections.add_argument(
        "--limit", type=_gigabytes, metavar="GB", help="what may stay, in gigabytes; 0 removes all"
    )
    sections.set_defaults(kind="sections")


def setting(text: str) -> Setting:
    """NODE.INPUT=VALUE."""
    try:
        return Setting.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _gigabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of gigabytes, such as 0.5")
    return value
