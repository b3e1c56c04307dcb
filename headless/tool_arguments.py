"""The options of the commands that make no videos."""

from __future__ import annotations

import argparse
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from .commands.exports.command import BENCHMARKS, ExportOptions
from .help import CONVERT_EXAMPLES, EXPORT_EXAMPLES, SECTIONS_EXAMPLES, HelpFormatter, epilog

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


def add_export(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`export`: videos for other benchmarks."""
    export = commands.add_parser(
        "export",
        parents=[common],
        help="write videos and their prompts as VBench or NarraStream-Bench read them",
        description="Writes copies of videos, and their prompts, in the form that another benchmark reads, and says which "
        "command of it comes next. vbench: its custom input, each part between two switches as a file with its own prompt. "
        "narrastream: one file a video, and a script of prompts for segments of one length.",
        epilog=epilog(*EXPORT_EXAMPLES),
        formatter_class=HelpFormatter,
    )
    export.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="video files")
    export.add_argument("--to", choices=BENCHMARKS, required=True, help="the benchmark")
    export.add_argument(
        "--timeline",
        required=True,
        metavar="TEXT|FILE",
        help="the prompts, as evaluate reads them; a file with a script a line (.jsonl) has one for each video",
    )
    export.add_argument(
        "--window",
        type=int,
        default=ExportOptions.window,
        metavar="N",
        help="latent frames of a section, for videos by FramePack whose prompts do not come from a report (usual: 9)",
    )
    export.add_argument(
        "--segment",
        type=int,
        default=ExportOptions.segment,
        metavar="SECONDS",
        help="of narrastream: whole seconds from one prompt to the next (%(default)s)",
    )
    export.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder that is new, or empty"
    )
    export.set_defaults(kind="export")


def _gigabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of gigabytes, such as 0.5")
    return value
