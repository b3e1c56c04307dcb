"""The options of `dataset`: training data for musubi-tuner."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..samplers.context.plan import MAX_WINDOW
from ..training.dataset import ALL_LAYOUTS
from ..training.shares import DEFAULT_SHARES, parse_shares
from .help import DATASET_EXAMPLES, HelpFormatter, epilog
from .shared_arguments import read_by

if TYPE_CHECKING:
    from .tool_arguments import Commands

SHARES = ",".join(f"{kind}={share:g}" for kind, share in DEFAULT_SHARES.items())


def add_dataset(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`dataset` with its own commands."""
    dataset = commands.add_parser(
        "dataset",
        parents=[common],
        help="make training data for a LoRA that follows changes of the prompt",
        description="Makes training data for kohya-ss/musubi-tuner, in which every section of a clip has a caption of its "
        "own. docs/TRAINING.md leads from a folder of clips to a LoRA.",
        epilog=epilog(*DATASET_EXAMPLES),
        formatter_class=HelpFormatter,
    )
    own = dataset.add_subparsers(dest="dataset", required=True, metavar="COMMAND")
    _add_build(own, common)
    _add_prune(own, common)
    _add_check(own, common)
    _add_recycle(own, common)
    dataset.set_defaults(kind="dataset")


def _add_build(own: Commands, common: argparse.ArgumentParser) -> None:
    build = own.add_parser(
        "build",
        parents=[common],
        epilog=epilog(DATASET_EXAMPLES[0]),
        help="cut clips into examples by their captions",
        description="Cuts clips so that each change of the prompt falls on the border of two sections, and writes what "
        "musubi-tuner needs. NAME.mp4 has its prompts over time in NAME.txt, in any notation of FramePack Prompt Timeline.",
        formatter_class=HelpFormatter,
    )
    build.add_argument(
        "source", type=Path, metavar="CLIPS", help="the folder of clips; of pictures for one frame"
    )
    build.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    build.add_argument(
        "--layout",
        choices=ALL_LAYOUTS,
        default="f1",
        help="the kind of model that is trained: f1 or original; or one-frame training in one of three ways (%(default)s)",
    )
    build.add_argument(
        "--captions", type=Path, metavar="DIR", help="where the captions lie (beside the clips)"
    )
    build.add_argument(
        "--controls",
        type=Path,
        metavar="DIR",
        help="for one frame: the pictures to start from, called as the picture that they lead to, or NAME_0 and NAME_1",
    )
    build.add_argument(
        "--window", type=_window, default=9, metavar="N", help="latent frames of a section (%(default)s)"
    )
    build.add_argument(
        "--resolution",
        type=_resolution,
        default=(640, 640),
        metavar="WxH",
        help="the area that pictures are brought to, at their own proportions (640x640)",
    )
    build.add_argument(
        "--shares",
        type=read_by(parse_shares),
        default=DEFAULT_SHARES,
        metavar="SHARES",
        help=f"what an epoch is made of: sections at a change, those after it, and those without ({SHARES})",
    )


def _add_prune(own: Commands, common: argparse.ArgumentParser) -> None:
    prune = own.add_parser(
        "prune",
        parents=[common],
        epilog=epilog(DATASET_EXAMPLES[1]),
        help="after the latents are cached: give every section a name, and remove the rest",
        description="Gives the sections that musubi-tuner has cached the names and folders of their examples, removes "
        "those that are none, and writes the configuration anew.",
        formatter_class=HelpFormatter,
    )
    prune.add_argument("folder", type=Path, metavar="DIR", help="the folder that build has written")
    prune.add_argument(
        "--shares", type=read_by(parse_shares), metavar="SHARES", help="other shares than build was given"
    )


def _add_check(own: Commands, common: argparse.ArgumentParser) -> None:
    check = own.add_parser(
        "check",
        parents=[common],
        epilog=epilog(DATASET_EXAMPLES[2]),
        help="look for contradictions before training",
        description="Looks at every example: files, captions, shapes, indices, and whether the picture changes where the "
        "prompt does. Ends with 1 where something would spoil the training. check.txt in the folder lists every example.",
        formatter_class=HelpFormatter,
    )
    check.add_argument("folder", type=Path, metavar="DIR", help="the folder that build has written")


def _add_recycle(own: Commands, common: argparse.ArgumentParser) -> None:
    recycle = own.add_parser(
        "recycle",
        parents=[common],
        epilog=epilog(DATASET_EXAMPLES[3]),
        help="add copies whose memory has the errors that the model makes",
        description="Adds copies of the examples whose remembered frames have errors from a bank, as in Stable Video "
        "Infinity; the targets stay clean. Meant against drift over many sections; no effect was found on the tiny model.",
        formatter_class=HelpFormatter,
    )
    recycle.add_argument(
        "folder", type=Path, metavar="DIR", help="the folder that build has written, with latents"
    )
    recycle.add_argument(
        "--bank", type=Path, required=True, metavar="FILE", help="what FramePack Error Bank has written"
    )
    recycle.add_argument(
        "--share",
        type=float,
        default=0.5,
        metavar="P",
        help="how likely each remembered frame gets an error (%(default)s)",
    )
    recycle.add_argument(
        "--copies", type=int, default=1, metavar="N", help="copies of every example (%(default)s)"
    )
    recycle.add_argument("--seed", type=int, default=0, metavar="N", help="other errors (%(default)s)")


def _window(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WINDOW:
        raise argparse.ArgumentTypeError(f"{text!r} is no window; give 1 to {MAX_WINDOW} latent frames")
    return int(text)


def _resolution(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    sides = [int(side) for side in (width, height) if side.isdecimal() and len(side) < 6]
    if len(sides) != 2 or min(sides) < 32:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no resolution; give width and height of at least 32, such as 640x640"
        )
    return sides[0], sides[1]
