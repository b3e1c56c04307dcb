"""The command line: `framepack-transitions`, or `python -m framepack_transitions`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from ..models.plain import models_on
from ..nodes.kept_records import SECTIONS
from ..samplers.progress import Interrupted
from .arguments import parser
from .benches import run_bench
from .commands.convert import run_convert
from .commands.dataset.command import run_dataset
from .commands.demo import run_demo
from .commands.evaluate import EvaluateOptions, run_evaluate
from .commands.exports.command import ExportOptions, run_export
from .commands.sections import SectionsOptions, run_sections
from .commands.sweep.command import SweepOptions, run_sweep
from .devices import device_named
from .files.folders import Folders
from .running.progress import ProgressBars
from .running.report import FILE_NAME, Record, write_report
from .running.runs import Job, LocalRunner, Runner, ServerRunner, input_folder_for, run_job
from .stopping import INTERRUPTED, TERMINATED, Terminated, stopped_by_sigterm
from .workflows.errors import WorkflowError
from .workflows.executor import describe

OK, FAILED = 0, 1
TEXT_LINES, TEXT_COLUMNS = 12, 240  # of a node's text on the terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 wrong workflow, 130 interrupted, 143 ended by SIGTERM."""
    _escape_what_terminal_cannot_show()
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    if options.kind in TOOLS:
        return _say_result(options)
    options.report = _report_file(options)
    record, bars = Record(options.report.parent), ProgressBars()
    try:
        _check_writable(record.out)
        with stopped_by_sigterm(), logging_redirect_tqdm(), models_on(_device_of(options)):
            facts = COMMANDS[options.kind](options, record, bars)
        return _finish(options, record, facts)
    except (KeyboardInterrupt, Interrupted) as stop:
        bars.close()
        _say("Interrupted." + (f" Written so far: {_names(record)}." if record.files() else ""))
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except WorkflowError as error:
        bars.close()
        return _fail(error.problems, error, options.verbose)
    except Exception as error:  # the last resort: one line for the user, the traceback on demand
        bars.close()
        return _fail((f"Unexpected {describe(error)} (--verbose shows where).",), error, options.verbose)


def _escape_what_terminal_cannot_show() -> None:
    """Lets letters that the output's encoding lacks be printed as escapes instead of ending the run, as on Windows' pipes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say_result(options: argparse.Namespace) -> int:
    """A command that makes no videos and no report: it says what it has done."""
    try:
        print(TOOLS[options.kind](options))
    except WorkflowError as error:
        return _fail(error.problems, error, options.verbose)
    return OK


def _report_file(options: argparse.Namespace) -> Path:
    """Where the report goes; --out is its folder, or for `evaluate` the file itself."""
    if options.kind == "evaluate" and options.out.suffix == ".json":
        return Path(options.out)
    return Path(options.out) / FILE_NAME


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


def _device_of(options: argparse.Namespace) -> torch.device:
    """Where the models of this process go; raises WorkflowError for a device that there is not, or where a server computes."""
    name = getattr(options, "device", None)
    if name is None:
        return torch.device("cpu")
    if getattr(options, "server", None) or getattr(options, "dask", None):
        raise WorkflowError(
            "--device is for runs in this process; a server chooses its own, and a cluster too: leave out one of the two."
        )
    return device_named(name)


def _demo(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    return run_demo(options.out, options.seed, record, bars)


def _evaluate(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    return run_evaluate(EvaluateOptions(**_named(EvaluateOptions, options)), record, bars)


def _named(kind: type[EvaluateOptions | ExportOptions], options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says for the fields of a command's options."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in vars(options).items() if name in names}


def _run(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    source = options.input or input_folder_for(options.workflow)
    folders = Folders(source, options.out, records=options.out / SECTIONS)
    job = Job(options.workflow, folders, options.settings)
    runner: Runner = ServerRunner(options.server) if options.server else LocalRunner()
    return run_job(runner, job, record, bars)


def _sweep(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    names = {field.name for field in fields(SweepOptions)}
    values = {name: value for name, value in vars(options).items() if name in names and value is not None}
    return run_sweep(SweepOptions(**values), record, bars)


COMMANDS: dict[str, Callable[[argparse.Namespace, Record, ProgressBars], dict[str, Any]]] = {
    "demo": _demo,
    "run": _run,
    "sweep": _sweep,
    "evaluate": _evaluate,
    "bench": run_bench,
}


TOOLS: dict[str, Callable[[argparse.Namespace], str]] = {
    "dataset": run_dataset,
    "convert": lambda options: run_convert(options.workflow, options.out),
    "export": lambda options: run_export(ExportOptions(**_named(ExportOptions, options))),
    "sections": lambda options: run_sections(SectionsOptions(folder=options.folder, limit=options.limit)),
}


def _finish(options: argparse.Namespace, record: Record, facts: dict[str, Any]) -> int:
    for entry in record.texts:
        print(entry["text"] if entry["node"] is None else shortened(entry["text"], options.report))
    for video in record.videos:
        if video["node"] is None:  # it was there before
            continue
        width, height = video["size"]
        print(
            f"{record.out / video['path']}: {video['frames']} frames, {width}x{height}, {video['fps']:g} fps"
        )
    for image in record.images:
        print(record.out / image["path"])
    for name in ("comparison", "table", "plot", "contact_sheet", "rating_page"):
        if name in facts:
            print(record.out / facts[name])
    for remark in facts.get("remarks", ()):
        print(remark)
    print(write_report(options.report, record.report(options.kind, **facts)))
    return FAILED if facts.get("failed") else OK


def shortened(text: str, report: Path) -> str:
    """The first lines of a node's text, none of them longer than a few terminal lines; the report has the rest."""
    lines = text.splitlines()
    shown = [line[:TEXT_COLUMNS] for line in lines[:TEXT_LINES]]
    if shown == lines:
        return text
    return "\n".join([*shown, f"... ({len(text)} characters in all; the whole text is in {report})"])


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
