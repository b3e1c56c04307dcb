"""The command `bench transition --suite` for scripts of other benchmarks: every switch of each, plain and treated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....benchmarks.suites.scripts import results as scored
from ....benchmarks.suites.scripts.episodes import SEGMENT, Script, script_suite_of
from ....benchmarks.suites.scripts.results import ScriptResult
from ....benchmarks.transition.pictures import TABLE
from ....metrics import evaluate_video
from ....nodes.evaluation.models import EvaluationModels
from ...files.media import probe_video, video_batches
from ...running.progress import ProgressBars
from ...running.report import Record
from ...running.runs import EXAMPLES, PACK
from ...workflows.errors import WorkflowError, as_sentences
from ..scripts import SUFFIX, script_file, scripts_of
from .measuring import MeasuredSuite, SuiteOptions, measure_suite
from .videos import FinishedVideo, SuiteVideo
from .workflow import PLAIN, TREATED

IMAGE = PACK / EXAMPLES / "input" / "framepack_transitions_start.png"

Measured = MeasuredSuite[Script, ScriptResult]


def holds_scripts(suite: str) -> bool:
    """Whether a file of scripts is meant, or one of its lines."""
    return script_file(suite).name.lower().endswith(SUFFIX)


def run_scripts(options: SuiteOptions, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Makes the videos that are missing and scores each switch of each; raises WorkflowError with a sentence."""
    if options.rate is not None:
        raise WorkflowError("--rate is for suites whose videos have one switch; leave it out with scripts.")
    try:
        suite = script_suite_of(
            Path(script_file(options.suite).name),
            scripts_of(options.suite),
            options.image or IMAGE,
            SEGMENT if options.segment is None else options.segment,
        )
    except (ValueError, OSError) as error:
        raise WorkflowError(as_sentences(str(error))) from error
    return _facts(measure_suite(options, suite, (), _result, record=record, bars=bars))


def _result(
    video: SuiteVideo[Script], finished: FinishedVideo, window: int, models: EvaluationModels
) -> ScriptResult:
    """The scores of a finished video."""
    scores = evaluate_video(
        video_batches(finished.path),
        video.episode.cues(),
        fps=probe_video(finished.path).fps,
        window=window,
        trace=finished.trace,
        name=video.name,
        **models.options(),
    )
    sections = (finished.trace or {}).get("sections", ())
    return ScriptResult(
        script=video.episode.id,
        seed=video.seed,
        arm=video.arm,
        scores=scores,
        evaluations=sum(section["evaluations"] for section in sections) if sections else None,
        seconds=sum(section["seconds"] for section in sections) if sections else finished.seconds,
    )


def _facts(found: Measured) -> dict[str, Any]:
    """What goes into the report, with the table beside it."""
    results = found.results
    pairs = scored.pairs_of(results, PLAIN, TREATED)
    rows, changes = scored.rows(pairs, results), scored.differences(pairs)
    text, remarks = scored.table(rows, changes), _remarks(found, len(pairs))
    found.save_table(remarks, text)
    prompts = {script.id: [span.text for span in script.spans] for script in found.suite.episodes}
    return {
        **found.facts(),
        "remarks": remarks,
        "rows": rows,
        "differences": changes,
        "episodes": [
            _described(path, result, prompts[result.script]) for path, result in zip(found.paths, results)
        ],
        "switches": [
            [switch.to_json(result.scores.fps) for switch in result.scores.switches] for result in results
        ],
        "table": TABLE,
    }


def _described(path: str, result: ScriptResult, prompts: list[str]) -> dict[str, Any]:
    """A video as the report lists it."""
    return {
        "video": path,
        "episode": result.script,
        "seed": result.seed,
        "arm": result.arm,
        "prompts": prompts,
        "success": [scored.success(switch) for switch in result.scores.switches],
        "evaluations": result.evaluations,
        "seconds": round(result.seconds, 3),
    }


def _remarks(found: Measured, pairs: int) -> list[str]:
    """What must be known to read the numbers."""
    switches = sum(len(result.scores.switches) for result in found.results if result.arm == PLAIN)
    return [
        (
            f"Scripts of {found.suite.name}, features {found.features}: before {pairs} of {switches} switches the old scene is "
            "seen, plain and treated; only these count."
        ),
        "A script says no states, so that frames are compared with the prompts themselves.",
        "All videos begin from the same image, whatever a script shows first.",
        *found.remarks(),
        "These are this pack's metrics, and no scores of the benchmark that wrote the scripts.",
    ]
