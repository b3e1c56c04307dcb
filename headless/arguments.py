"""The options of the command line."""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from ..nodes.evaluation.models import DETECTORS
from .bench_arguments import add_bench
from .commands.evaluate import EvaluateOptions
from .dataset_arguments import add_dataset
from .devices import DEVICE_HELP
from .help import (
    BENCH_EXAMPLES,
    EVALUATE_EXAMPLES,
    PROGRAM,
    HelpFormatter,
    epilog,
    run_examples,
)
from .running.report import FILE_NAME
from .shared_arguments import add_features, add_workflow
from .sweep_arguments import add_sweep
from .tool_arguments import add_convert, add_export, add_sections

if TYPE_CHECKING:
    from .tool_arguments import Commands


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    root = argparse.ArgumentParser(
        prog=PROGRAM,
        description="FramePack videos without ComfyUI, or on a running one.",
        epilog=epilog("demo", *run_examples()[:1], *EVALUATE_EXAMPLES[1:2], *BENCH_EXAMPLES[:1]),
        formatter_class=HelpFormatter,
    )
    commands = root.add_subparsers(dest="name", required=True, metavar="COMMAND")
    root.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="say more, and show where an error happened")

    _add_demo(commands, common)
    _add_run(commands, common)
    _add_evaluate(commands, common)
    add_sweep(commands, common)
    add_bench(commands, common)
    add_dataset(commands, common)
    add_convert(commands, common)
    add_sections(commands, common)
    add_export(commands, common)
    return root


def _version() -> str:
    try:
        return version(PROGRAM)
    except PackageNotFoundError:  # a checkout that is not installed, such as ComfyUI's custom_nodes
        return "of an unknown version: the package is not installed"


def _add_demo(commands: Commands, common: argparse.ArgumentParser) -> None:
    demo = commands.add_parser(
        "demo",
        parents=[common],
        help="show a prompt switch with and without techniques",
        description="Makes a video with a prompt switch, plain and treated, with the embedded model on any "
        "computer, and shows both side by side with their scores.",
        epilog=epilog("demo", "demo --seed 1 --out other_demo"),
        formatter_class=HelpFormatter,
    )
    demo.add_argument(
        "--out", type=Path, default=Path("demo_output"), metavar="DIR", help="where files go (%(default)s)"
    )
    demo.add_argument("--seed", type=int, metavar="N", help="other videos of the same prompts")
    demo.add_argument("--device", metavar="DEVICE", help=DEVICE_HELP.format(default="cpu"))
    demo.set_defaults(kind="demo")


def _add_run(commands: Commands, common: argparse.ArgumentParser) -> None:
    run = commands.add_parser(
        "run",
        parents=[common],
        help="run a workflow file",
        description="Runs a ComfyUI workflow with this pack's nodes, or any on a ComfyUI server.",
        epilog=epilog(*run_examples()),
        formatter_class=HelpFormatter,
    )
    add_workflow(run, "change an input of a node, given by id or title; may be repeated")
    run.add_argument(
        "--out",
        type=Path,
        default=Path("output"),
        metavar="DIR",
        help="the only folder that files are written to (%(default)s)",
    )
    run.add_argument("--server", metavar="URL", help="queue to this running ComfyUI and fetch what it makes")
    run.add_argument(
        "--device", metavar="DEVICE", help=DEVICE_HELP.format(default="cpu; a server chooses its own")
    )
    run.set_defaults(kind="run")


def _add_evaluate(commands: Commands, common: argparse.ArgumentParser) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure how a video follows a change of its prompt",
        description="Measures whether, how fast and how cleanly a video follows its prompts over time. Without "
        "--timeline there are curves and guards, but no scores.",
        epilog=epilog(*EVALUATE_EXAMPLES),
        formatter_class=HelpFormatter,
    )
    evaluate.add_argument("video", type=Path, metavar="VIDEO", help="a video file")
    evaluate.add_argument(
        "--timeline",
        metavar="TEXT|FILE",
        help='the prompts and their times, such as "a man [3s: the man disappears => an empty room]"; or a file '
        "with such a text, a report.json of a run, a trace, a list of {start, prompt, state, change} as JSON, or a script of "
        "MemFlow or NarraStream-Bench, the third line of whose file is scripts.jsonl#3",
    )
    evaluate.add_argument(
        "--compare", type=Path, nargs="+", default=[], metavar="VIDEO", help="more videos of the same prompts"
    )
    add_features(evaluate)
    evaluate.add_argument(
        "--window",
        type=int,
        default=0,
        metavar="N",
        help="latent frames of a section: switches move to section borders, as FramePack does it (usual: 9). "
        "0: they happen when the timeline says so; a trace knows better than both (%(default)s)",
    )
    evaluate.add_argument(
        "--concept", metavar="TEXT", help="an object that should disappear, such as 'a man'; scored as DF"
    )
    evaluate.add_argument(
        "--kept",
        metavar="TEXT",
        help="something that should stay, such as 'a woman': scored as identity, by a detector with boxes",
    )
    evaluate.add_argument(
        "--detector",
        choices=DETECTORS,
        default="auto",
        help="what looks for it; auto: the embedded world's own with tiny, else clip (%(default)s)",
    )
    evaluate.add_argument(
        "--detector-model", metavar="DIR", help="folder of an owlv2 or grounding_dino model"
    )
    evaluate.add_argument(
        "--distractors",
        default="",
        metavar="TEXTS",
        help="what else might be seen, between semicolons: half-changed, the old subject in the new place, nothing, "
        "another subject. The new state has to win against all of them. none: old and new alone (default: texts that follow "
        "from the prompts)",
    )
    evaluate.add_argument(
        "--object-free",
        type=Path,
        metavar="VIDEO",
        help="a video without the object, to calibrate the detector",
    )
    evaluate.add_argument(
        "--reference",
        type=Path,
        metavar="VIDEO",
        help="the new prompt without the old history: what could be had",
    )
    evaluate.add_argument(
        "--target", type=Path, metavar="VIDEO", help="pictures of the new scene, where they are known"
    )
    evaluate.add_argument(
        "--out", type=Path, default=Path(FILE_NAME), metavar="FILE", help="the report (%(default)s)"
    )
    evaluate.add_argument(
        "--penalty",
        type=float,
        default=EvaluateOptions.penalty,
        metavar="LAMBDA",
        help="lambda of DDI: how much motion off the new prompt weighs (%(default)s)",
    )
    evaluate.add_argument(
        "--lpips",
        type=Path,
        metavar="FILE",
        help="weights of LPIPS as .safetensors: measures the change from frame to frame by it, as the founding TL was "
        "defined; needs the library lpips",
    )
    evaluate.add_argument("--plot", type=Path, metavar="FILE.png", help="draw curves, scores and frames")
    evaluate.set_defaults(kind="evaluate")
