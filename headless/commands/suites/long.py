"""The command `bench transition --suite` for long videos: the tables of the study of long videos, of any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ....benchmarks.long import pictures, summary
from ....benchmarks.long.results import LongResult
from ....benchmarks.long.scenarios import BACK, RETURN
from ....benchmarks.suites.files import Suite
from ....benchmarks.suites.long.episodes import LongSuiteEpisode
from ....benchmarks.suites.long.results import LongVideo, measure_long_video
from ....benchmarks.suites.results import LATENT
from ....benchmarks.transition.pictures import PLOT, TABLE
from ....nodes.evaluation.models import EvaluationModels
from ...files.media import probe_video, video_batches
from ...running.progress import ProgressBars
from ...running.report import Record
from ...workflows.errors import WorkflowError
from .measuring import READS_NO_TEXT, MeasuredSuite, SuiteOptions, measure_suite
from .videos import FinishedVideo, SuiteVideo
from .workflow import PLAIN

Measured = MeasuredSuite[LongSuiteEpisode, LongVideo]


def run_long_suite(
    options: SuiteOptions, suite: Suite[LongSuiteEpisode], record: Record, bars: ProgressBars
) -> dict[str, Any]:
    """Makes what is missing, measures everything and compares; raises WorkflowError with a sentence."""
    if options.rate is not None:
        raise WorkflowError(
            "--rate is for suites whose videos have one switch; leave it out with long videos."
        )
    if (options.features or suite.features) == READS_NO_TEXT:
        raise WorkflowError(
            "Long videos are judged by texts, which pixel does not read: give --features clip."
        )
    subjects = [episode.subject for episode in suite.episodes]
    return _facts(measure_suite(options, suite, subjects, _result, record=record, bars=bars))


def _result(
    video: SuiteVideo[LongSuiteEpisode], finished: FinishedVideo, window: int, models: EvaluationModels
) -> LongVideo:
    """The measures of a finished video."""
    return measure_long_video(
        video.episode,
        video_batches(finished.path),
        models,
        fps=probe_video(finished.path).fps,
        window=window,
        trace=finished.trace,
        wall_seconds=finished.seconds,
        key=video.key,
        seed=video.seed,
        arm=video.arm,
    )


def _facts(found: Measured) -> dict[str, Any]:
    """What goes into the report, with the table and the plot beside it."""
    videos, out = found.results, found.options.out
    results = [video.result for video in videos]
    section = LATENT * found.maker.workflows[PLAIN].window
    rows, kinds = summary.rows(results, section), summary.kinds(results)
    curves, remarks = summary.over_time(results), _remarks(found, results)
    text = pictures.table(rows, kinds)
    found.save_table(remarks, text)
    seconds = section / videos[0].fps
    pictures.save_plot(out / PLOT, curves, _borders(found.suite, seconds), seconds)
    return {
        **found.facts(),
        "remarks": remarks,
        "rows": rows,
        "switches_in_turn": kinds,
        "over_time": curves,
        "episodes": [{"video": path, **asdict(result)} for path, result in zip(found.paths, results)],
        "switches": [[scores.to_json(video.fps) for scores in video.scores] for video in videos],
        "table": TABLE,
        "plot": PLOT,
    }


def _borders(suite: Suite[LongSuiteEpisode], section_seconds: float) -> dict[str, list[int]]:
    """For each scenario the sections with which its switches lie."""
    return {
        episode.scenario: [round(start / section_seconds) for start in episode.starts[1:-1]]
        for episode in suite.episodes
    }


def _remarks(found: Measured, results: Sequence[LongResult]) -> list[str]:
    """What must be known to read the numbers."""
    remarks = [
        f"TransitionBench, suite {found.suite.name} of long videos, features {found.features}, {len(results)} videos.",
        "All switches of a video are counted, also those after one that failed.",
        *found.remarks(),
    ]
    returns = any(switch.kind in (BACK, RETURN) for result in results for switch in result.switches)
    if returns and all(switch.identity is None for result in results for switch in result.switches):
        remarks.append("Identity takes a detector with boxes: give --detector owlv2 and --detector-model.")
    if any(result.evaluations is None for result in results):
        remarks.append(
            "No trace came with the videos: seconds are those of the whole run, and sections lie where the sampler's window "
            "puts them."
        )
    return remarks
