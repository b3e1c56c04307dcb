"""The command `bench transition --suite`: a workflow's videos of a suite of episodes, plain and treated, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

from ....benchmarks.rating.page import write_page
from ....benchmarks.rating.plan import RatedVideo, rating_plan
from ....benchmarks.suites import summary
from ....benchmarks.suites.episodes import SuiteEpisode, read_suite
from ....benchmarks.suites.files import Suite
from ....benchmarks.suites.long.episodes import is_long_suite, read_long_suite
from ....benchmarks.suites.results import LATENT, EpisodeResult, measure_video
from ....benchmarks.transition.episodes import SWITCHES
from ....benchmarks.transition.pictures import SHEET, TABLE
from ....nodes.evaluation.models import EvaluationModels
from ...files.media import probe_video, video_batches
from ...running.progress import ProgressBars
from ...running.report import Record
from ...workflows.errors import WorkflowError, as_sentences
from .long import run_long_suite
from .measuring import MeasuredSuite, SuiteOptions, measure_suite
from .scripts import holds_scripts, run_scripts
from .videos import FinishedVideo, SuiteVideo
from .workflow import ARMS, PLAIN, TREATED

Measured = MeasuredSuite[SuiteEpisode, EpisodeResult]
T = TypeVar("T")


def run_suite(options: SuiteOptions, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Makes what is missing, measures everything and compares; raises WorkflowError with a sentence."""
    if options.seeds is not None and options.seeds < 1:
        raise WorkflowError(f"Seeds is {options.seeds}; give at least 1.")
    if holds_scripts(options.suite):
        return run_scripts(options, record, bars)
    if given := [name for name in ("segment", "image") if getattr(options, name) is not None]:
        raise WorkflowError(f"--{given[0]} belongs to scripts, a file with one on every line; leave it out.")
    if _read(is_long_suite, options.suite):
        return run_long_suite(options, _read(read_long_suite, options.suite), record, bars)
    suite = _read(read_suite, options.suite)
    concepts = [episode.concept for episode in suite.episodes]
    found = measure_suite(options, suite, concepts, _result, record=record, bars=bars)
    return _facts(found) | _rating_page(found)


def _read(read: Callable[[str], T], given: str) -> T:
    """What `read` finds in a suite; raises WorkflowError with its sentences."""
    try:
        return read(given)
    except ValueError as error:
        raise WorkflowError(as_sentences(str(error))) from error


def _result(
    video: SuiteVideo[SuiteEpisode], finished: FinishedVideo, window: int, models: EvaluationModels
) -> EpisodeResult:
    """The measures of a finished video."""
    return measure_video(
        video.episode,
        video_batches(finished.path),
        replace(models, concept=video.episode.concept),
        fps=probe_video(finished.path).fps,
        window=window,
        trace=finished.trace,
        wall_seconds=finished.seconds,
        seed=video.seed,
        arm=video.arm,
    )


def _facts(found: Measured) -> dict[str, Any]:
    """What goes into the report, with the table and the contact sheet beside it."""
    suite, results, out = found.suite, found.results, found.options.out
    cases = list(dict.fromkeys(episode.case for episode in suite.episodes))
    pairs = summary.pairs_of(results, PLAIN, TREATED)
    rows, changes = summary.rows(pairs, cases), summary.differences(pairs, cases)
    text, remarks = summary.table(rows, changes), _remarks(found, len(pairs))
    found.save_table(remarks, text)
    summary.save_sheet(out / SHEET, suite.episodes, results)
    episodes = _by_id(suite)
    return {
        **found.facts(),
        "remarks": remarks,
        "rows": rows,
        "differences": changes,
        "episodes": [
            _described(path, result, episodes[result.episode]) for path, result in zip(found.paths, results)
        ],
        "switches": [
            [result.scores.to_json(result.fps)] if result.case in SWITCHES else [] for result in results
        ],
        "table": TABLE,
        "contact_sheet": SHEET,
    }


def _by_id(suite: Suite[SuiteEpisode]) -> dict[str, SuiteEpisode]:
    return {episode.id: episode for episode in suite.episodes}


def _described(path: str, result: EpisodeResult, episode: SuiteEpisode) -> dict[str, Any]:
    """A video as the report lists it."""
    return {
        "video": path,
        "image": episode.image,
        **result.to_json(),
        "seconds": round(result.seconds, 3),
        "prompts": [asdict(view) for view in (episode.old, episode.new) if view is not None],
    }


def _rating_page(found: Measured) -> dict[str, str]:
    """Writes the page on which people rate the videos, where one is asked for."""
    if found.options.rate is None:
        return {}
    episodes, workflows = _by_id(found.suite), found.maker.workflows
    rated = [
        _rated(path, result, episodes[result.episode], workflows[result.arm].window)
        for path, result in zip(found.paths, found.results, strict=True)
    ]
    plan = rating_plan(rated, suite=found.suite.name, order=found.options.rate)
    return {"rating_page": write_page(found.options.out, plan).name}


def _rated(path: str, result: EpisodeResult, episode: SuiteEpisode, window: int) -> RatedVideo:
    """A video as people see it: until the end of the first section after the switch."""
    switch = round(result.switch / result.fps, 3)
    entered = episode.old if episode.new is None else episode.new
    then = ((switch, entered.prompt),) if episode.case != "control" else ()
    return RatedVideo(
        path=path,
        episode=result.episode,
        seed=result.seed,
        arm=result.arm,
        old=episode.old.state,
        new=episode.other_state,
        prompts=((0.0, episode.old.prompt), *then),
        switch=switch,
        until=round((result.switch + LATENT * window) / result.fps, 3),
    )


def _remarks(found: Measured, pairs: int) -> list[str]:
    """What must be known to read the numbers."""
    results: Sequence[EpisodeResult] = found.results
    made = len(results) // len(ARMS)
    remarks = [
        (
            f"TransitionBench, suite {found.suite.name}, features {found.features}: in {pairs} of {made} pairs, plain and "
            "treated, the old scene is seen before the switch; only these count."
        )
    ]
    if pairs < made:
        reasons = {result.episode: result.why for result in results if not result.valid and result.why}
        remarks += [f"{episode}: {reason}." for episode, reason in reasons.items()]
    remarks += [*found.remarks(), "A case has few episodes: quote the pooled numbers, with their intervals."]
    if not all(result.evaluations for result in results):
        remarks.append(
            "No trace came with the videos: seconds are those of the whole run, and switches lie where sections of the "
            "sampler's window put them."
        )
    return remarks
