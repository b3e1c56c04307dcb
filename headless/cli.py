"""The command line: `framepack-transitions`, or `python -m framepack_transitions`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tqdm.contrib.logging import logging_redirect_tqdm

from ..samplers.progress import Interrupted
from .bench import BENCHES, run_transition
from .demo import run_demo
from .errors import WorkflowError
from .executor import describe
from .folders import Folders
from .progress import Bars
from .report import Record, write_report
from .runs import Job, input_folder_for, run_here, run_there
from .workflow import Setting

OK, FAILED, INTERRUPTED = 0, 1, 130
PROGRAM = "framepack-transitions"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 wrong workflow, 130 interrupted."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    record, bars = Record(options.out), Bars()
    try:
        _check_writable(options.out)
        with logging_redirect_tqdm():
            facts = options.command(options, record, bars)
        return _finish(options, record, facts)
    except (KeyboardInterrupt, Interrupted):
        bars.close()
        _say(
            "Interrupted. "
            + (f"Written so far: {_names(record)}." if record.files() else "Nothing was written.")
        )
        return INTERRUPTED
    except WorkflowError as error:
        bars.close()
        return _fail(error.problems, error, options.verbose)
    except Exception as error:  # the last resort: one line for the user, the traceback on demand
        bars.close()
        return _fail((f"Unexpected {describe(error)} (--verbose shows where).",), error, options.verbose)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    root = argparse.ArgumentParser(
        prog=PROGRAM, description="FramePack videos without ComfyUI, or on a running one."
    )
    commands = root.add_subparsers(dest="name", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="say more, and show where an error happened")

    demo = commands.add_parser(
        "demo",
        parents=[common],
        help="show a prompt switch with and without techniques",
        description="Makes a video with a prompt switch, plain and treated, with the embedded model on any "
        "computer, and shows both side by side with their scores.",
    )
    demo.add_argument(
        "--out", type=Path, default=Path("demo_output"), metavar="DIR", help="where files go (%(default)s)"
    )
    demo.add_argument("--seed", type=int, metavar="N", help="other videos of the same prompts")
    demo.set_defaults(command=_demo, kind="demo")

    run = commands.add_parser(
        "run",
        parents=[common],
        help="run a workflow file",
        description="Runs a ComfyUI workflow with this pack's nodes, or any on a ComfyUI server.",
    )
    run.add_argument(
        "workflow", type=Path, metavar="WORKFLOW.json", help="API format; the editor's format is converted"
    )
    run.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        dest="settings",
        metavar="NODE.INPUT=VALUE",
        help="change an input of a node, given by id or title; may be repeated",
    )
    run.add_argument(
        "--input",
        type=Path,
        metavar="DIR",
        help="the only folder that files are loaded from (default: the folder input of the examples, "
        "or beside the workflow)",
    )
    run.add_argument(
        "--out",
        type=Path,
        default=Path("output"),
        metavar="DIR",
        help="the only folder that files are written to (%(default)s)",
    )
    run.add_argument("--server", metavar="URL", help="queue to this running ComfyUI and fetch what it makes")
    run.set_defaults(command=_run, kind="run")

    bench = commands.add_parser(
        "bench",
        parents=[common],
        help="measure the techniques with the embedded model",
        description="Measures with the embedded model. transition: does a change of the prompt happen, how "
        "fast, how cleanly and at what cost, with and without each technique. Run again, it goes on where it "
        "stopped.",
    )
    bench.add_argument("bench", choices=BENCHES, help="what to measure")
    bench.add_argument(
        "--seeds",
        type=int,
        default=8,
        metavar="N",
        help="episodes of each case; 32 and more are enough to quote (%(default)s)",
    )
    bench.add_argument(
        "--out", type=Path, default=Path("bench_output"), metavar="DIR", help="where files go (%(default)s)"
    )
    bench.set_defaults(command=_bench, kind="bench")
    return root


def _check_writable(folder: Path) -> None:
    """Raises WorkflowError before anything is computed when nothing could be written to the output folder."""
    existing = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    try:
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise WorkflowError(
            f"Nothing can be written to the output folder {folder} ({error.strerror}): give another with --out."
        ) from error


def _setting(text: str) -> Setting:
    try:
        return Setting.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _demo(options: argparse.Namespace, record: Record, bars: Bars) -> dict[str, Any]:
    return run_demo(options.out, options.seed, record, bars)


def _bench(options: argparse.Namespace, record: Record, bars: Bars) -> dict[str, Any]:
    return run_transition(options.out, options.seeds, record, bars)


def _run(options: argparse.Namespace, record: Record, bars: Bars) -> dict[str, Any]:
    folders = Folders(options.input or input_folder_for(options.workflow), options.out)
    job = Job(options.workflow, folders, options.settings)
    return run_there(job, options.server, record, bars) if options.server else run_here(job, record, bars)


def _finish(options: argparse.Namespace, record: Record, facts: dict[str, Any]) -> int:
    for entry in record.texts:
        print(entry["text"])
    for video in record.videos:
        width, height = video["size"]
        print(
            f"{record.out / video['path']}: {video['frames']} frames, {width}x{height}, {video['fps']:g} fps"
        )
    for image in record.images:
        print(record.out / image["path"])
    for name in ("comparison", "table", "plot", "contact_sheet"):
        if name in facts:
            print(record.out / facts[name])
    for remark in facts.get("remarks", ()):
        print(remark)
    print(write_report(options.out, record.report(options.kind, **facts)))
    return OK


def _fail(sentences: Sequence[str], error: Exception, verbose: bool) -> int:
    if verbose:
        logging.getLogger(__name__).error("The traceback:", exc_info=error)
    for sentence in sentences:
        _say(sentence)
    return FAILED


def _names(record: Record) -> str:
    return ", ".join(str(path) for path in record.files())


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
