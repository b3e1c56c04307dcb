"""The command line: `framepack-transitions`, or `python -m framepack_transitions`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tqdm.contrib.logging import logging_redirect_tqdm

from ..nodes.evaluation.models import DETECTORS
from ..samplers.progress import Interrupted
from .commands.bench import BENCHES, STUDIES, run_transition
from .commands.demo import run_demo
from .commands.evaluate import FEATURES, Request, run_evaluate
from .commands.suite import SUITES, run_suite
from .commands.suite import Request as SuiteRequest
from .files.folders import Folders
from .running.progress import Bars
from .running.report import FILE_NAME, Record, write_report
from .running.runs import Job, input_folder_for, run_here, run_there
from .workflows.errors import WorkflowError
from .workflows.executor import describe
from .workflows.workflow import Setting

OK, FAILED, INTERRUPTED = 0, 1, 130
STUDY_SEEDS, SUITE_SEEDS = 8, 1
SUITE_OPTIONS = ("workflow", "server", "features", "model", "pretrained")
PROGRAM = "framepack-transitions"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 wrong workflow, 130 interrupted."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    options.report = _report_file(options)
    record, bars = Record(options.report.parent), Bars()
    try:
        _check_writable(record.out)
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

    _add_evaluate(commands, common)

    bench = commands.add_parser(
        "bench",
        parents=[common],
        help="measure the techniques with the embedded model, or a workflow with any model",
        description="transition: does a change of the prompt happen, how fast, how cleanly and at what cost, with and "
        "without techniques. --study measures the embedded model, in numbers; --suite measures whatever model a "
        "workflow runs, such as the 13B on a ComfyUI with a GPU. Run again, it goes on where it stopped.",
    )
    bench.add_argument("bench", choices=BENCHES, help="what to measure")
    what = bench.add_mutually_exclusive_group()
    what.add_argument(
        "--study",
        choices=STUDIES,
        default="techniques",
        help="of the embedded model. techniques: all of them against plain; doses: each at rising strength; conflict: "
        "what the past shows against what the prompt asks, under a cap on attention; agreement: whether the metrics say what "
        "is true (%(default)s)",
    )
    what.add_argument(
        "--suite",
        nargs="?",
        const=SUITES[0],
        metavar="NAME|FILE",
        help="of a workflow: make the videos of these episodes, each with the workflow's technique nodes and without "
        f"them, and measure both. A file, or {' or '.join(SUITES)} ({SUITES[0]})",
    )
    bench.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help=f"with --study, episodes of each case; 32 and more are enough to quote ({STUDY_SEEDS}). With --suite, "
        f"videos of each episode and arm ({SUITE_SEEDS})",
    )
    _add_suite(bench)
    bench.add_argument(
        "--out", type=Path, default=Path("bench_output"), metavar="DIR", help="where files go (%(default)s)"
    )
    bench.set_defaults(command=_bench, kind="bench")
    return root


def _add_suite(bench: argparse.ArgumentParser) -> None:
    suite = bench.add_argument_group("with --suite")
    suite.add_argument(
        "--workflow",
        type=Path,
        metavar="W.json",
        help="the workflow to measure, with technique nodes between loader and sampler; docs/BENCHMARKS.md says which "
        "titles its nodes need (default: the example that the suite names)",
    )
    suite.add_argument(
        "--server", metavar="URL", help="queue to this running ComfyUI (default: run in this process)"
    )
    suite.add_argument(
        "--features",
        choices=FEATURES,
        help="what frames are compared by; clip understands the prompts and needs its weights on this machine "
        "(default: what the suite names)",
    )
    suite.add_argument("--model", metavar="NAME", help=f"open_clip model for clip ({Request.model})")
    suite.add_argument(
        "--pretrained",
        metavar="TAG|FILE",
        help=f"its weights: a tag that is in the cache, or a .safetensors file ({Request.pretrained})",
    )


def _add_evaluate(commands: Any, common: argparse.ArgumentParser) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure how a video follows a change of its prompt",
        description="Measures whether, how fast and how cleanly a video follows its prompts over time. Without "
        "--timeline there are curves and guards, but no scores.",
    )
    evaluate.add_argument("video", type=Path, metavar="VIDEO", help="a video file")
    evaluate.add_argument(
        "--timeline",
        metavar="TEXT|FILE",
        help='the prompts and their times, such as "a man [3s: the man disappears => an empty room]"; or a file '
        "with such a text, a report.json of a run, a trace, or a list of {start, prompt, state, change} as JSON",
    )
    evaluate.add_argument(
        "--compare", type=Path, nargs="+", default=[], metavar="VIDEO", help="more videos of the same prompts"
    )
    evaluate.add_argument(
        "--features",
        choices=FEATURES,
        default="pixel",
        help="what frames are compared by: clip understands the prompts and needs its weights on this machine, "
        "pixel needs none and reads no text, tiny knows the embedded model's world only (%(default)s)",
    )
    evaluate.add_argument(
        "--model", default=Request.model, metavar="NAME", help="open_clip model for clip (%(default)s)"
    )
    evaluate.add_argument(
        "--pretrained",
        default=Request.pretrained,
        metavar="TAG|FILE",
        help="its weights: a tag that is in the cache, or a .safetensors file (%(default)s)",
    )
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
        "--detector",
        choices=DETECTORS,
        default="auto",
        help="what looks for it; auto: the embedded world's own with tiny, else clip (%(default)s)",
    )
    evaluate.add_argument(
        "--detector-model", metavar="DIR", help="folder of an owlv2 or grounding_dino model"
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
    evaluate.add_argument("--plot", type=Path, metavar="FILE.png", help="draw curves, scores and frames")
    evaluate.set_defaults(command=_evaluate, kind="evaluate")


def _report_file(options: argparse.Namespace) -> Path:
    """Where the report goes; --out is its folder, or for `evaluate` the file itself."""
    if options.kind == "evaluate" and options.out.suffix == ".json":
        return options.out
    return options.out / FILE_NAME


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
    own = {name: value for name in SUITE_OPTIONS if (value := getattr(options, name)) is not None}
    if options.suite is None:
        if own:
            raise WorkflowError(f"--{next(iter(own))} belongs to --suite, which is missing.")
        seeds = STUDY_SEEDS if options.seeds is None else options.seeds
        return run_transition(options.out, seeds, options.study, record, bars)
    seeds = SUITE_SEEDS if options.seeds is None else options.seeds
    return run_suite(SuiteRequest(options.suite, options.out, seeds, **own), record, bars)


def _evaluate(options: argparse.Namespace, record: Record, bars: Bars) -> dict[str, Any]:
    names = {field.name for field in fields(Request)}
    given = {name: value for name, value in vars(options).items() if name in names}
    return run_evaluate(Request(**given), record, bars)


def _run(options: argparse.Namespace, record: Record, bars: Bars) -> dict[str, Any]:
    folders = Folders(options.input or input_folder_for(options.workflow), options.out)
    job = Job(options.workflow, folders, options.settings)
    return run_there(job, options.server, record, bars) if options.server else run_here(job, record, bars)


def _finish(options: argparse.Namespace, record: Record, facts: dict[str, Any]) -> int:
    for entry in record.texts:
        print(entry["text"])
    for video in record.videos:
        if video["node"] is None:  # it was there before
            continue
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
    print(write_report(options.report, record.report(options.kind, **facts)))
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
