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

from ..benchmarks.speed.bench import SpeedOptions
from ..models.plain import models_on, plain_device
from ..nodes.kept_records import SECTIONS
from ..samplers.progress import Interrupted
from .arguments import parser
from .bench_arguments import KILLS, STUDY_SEEDS
from .commands.bench import run_reliability, run_speed_bench, run_transition
from .commands.convert import run_convert
from .commands.dataset.command import run_dataset
from .commands.demo import run_demo
from .commands.evaluate import EvaluateOptions, run_evaluate
from .commands.exports.command import ExportOptions, run_export
from .commands.sections import SectionsOptions, run_sections
from .commands.step_cache.calibrate import run_calibration
from .commands.step_cache.study import run_cache_study
from .commands.suites.command import SuiteOptions, run_suite
from .commands.suites.ratings import run_ratings
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
SUITE_OPTIONS = ("workflow", "server", "features", "model", "pretrained", "rate")
# What one bench alone reads, with what stands for nothing given.
OWN_OPTIONS: dict[str, dict[str, Any]] = {
    "transition": {
        "study": "techniques",
        "suite": None,
        "ratings": None,
        "seeds": None,
        "first_seed": 0,
        **dict.fromkeys(SUITE_OPTIONS),
    },
    "speed": {
        "size": None,
        "rounds": SpeedOptions.rounds,
        "threads": None,
        "no_peer": False,
        "compile": False,
    },
    "cache": {"calibrate": False, "comfyui": None, "seeds": None, "workflow": None, "server": None},
}


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
            "--device is for runs in this process; a server or cluster chooses its own: leave out one of the two."
        )
    return device_named(name)


def _demo(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    return run_demo(options.out, options.seed, record, bars)


def _bench(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    _refuse_options_of_other_benches(options)
    if options.bench == "speed":
        return run_speed_bench(_speed_options(options), options.out, bars)
    if options.bench == "cache":
        return _bench_cache(options, record, bars)
    if options.bench == "reliability":
        if options.device is not None:
            raise WorkflowError(
                "--device is not for bench reliability, whose renders run on the CPU; leave it out."
            )
        return run_reliability(options.out, KILLS if options.kills is None else options.kills, record, bars)
    own = {name: value for name in SUITE_OPTIONS if (value := getattr(options, name)) is not None}
    if options.suite is None:
        if own:
            raise WorkflowError(f"--{next(iter(own))} belongs to --suite, which is missing.")
        if options.ratings is not None:
            return run_ratings(options.out, options.ratings, record)
        seeds = STUDY_SEEDS if options.seeds is None else options.seeds
        return run_transition(
            options.out, seeds, options.study, first_seed=options.first_seed, record=record, bars=bars
        )
    if options.first_seed:
        raise WorkflowError("--first-seed belongs to --study; leave it out with --suite.")
    return run_suite(
        SuiteOptions(suite=options.suite, out=options.out, seeds=options.seeds, **own), record, bars
    )


def _refuse_options_of_other_benches(options: argparse.Namespace) -> None:
    shared = OWN_OPTIONS.get(options.bench, {})
    others = {bench: own for bench, own in OWN_OPTIONS.items() if bench != options.bench}
    for bench, own in others.items():
        theirs = (name for name in own if name not in shared)
        for name in (name for name in theirs if getattr(options, name) != own[name]):
            raise WorkflowError(
                f"--{name.replace('_', '-')} belongs to bench {bench}, but this is bench {options.bench}."
            )


def _bench_cache(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    if options.calibrate:
        return run_calibration(options.out, options.workflow, options.server, record=record, bars=bars)
    for name in ("workflow", "server"):
        if getattr(options, name) is not None:
            raise WorkflowError(
                f"--{name} belongs to bench cache --calibrate; add --calibrate, or leave it out."
            )
    seeds = STUDY_SEEDS if options.seeds is None else options.seeds
    return run_cache_study(options.out, seeds, options.comfyui, record=record, bars=bars)


def _speed_options(options: argparse.Namespace) -> SpeedOptions:
    if options.threads is not None:
        if options.threads < 1:
            raise WorkflowError(f"--threads is {options.threads}; give at least 1.")
        torch.set_num_threads(options.threads)
    if options.rounds < 1:
        raise WorkflowError(f"--rounds is {options.rounds}; give at least 1.")
    device = plain_device()
    return SpeedOptions(
        device=device,
        size=options.size or ("mid" if device.type == "cpu" else "13b"),
        rounds=options.rounds,
        peer=not options.no_peer,
        compiled=options.compile,
    )


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
    values = {name: value for name, value in vars(options).items() if name in names}
    return run_sweep(SweepOptions(**values), record, bars)


COMMANDS: dict[str, Callable[[argparse.Namespace, Record, ProgressBars], dict[str, Any]]] = {
    "demo": _demo,
    "run": _run,
    "sweep": _sweep,
    "evaluate": _evaluate,
    "bench": _bench,
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
