"""The command `bench transition --suite`: a workflow's videos of a suite of episodes, plain and treated, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ....benchmarks.rating.page import write_page
from ....benchmarks.rating.plan import RatedVideo, rating_plan
from ....benchmarks.suites import summary as suite_summary
from ....benchmarks.suites.episodes import SHIPPED, Suite, SuiteEpisode, read_suite
from ....benchmarks.suites.results import LATENT, EpisodeResult, measure_video
from ....benchmarks.transition.episodes import SWITCHES
from ....benchmarks.transition.pictures import SHEET, TABLE
from ....nodes.evaluation.models import EvaluationModels, load_models
from ...files.media import probe_video, video_batches
from ...running.progress import ProgressBars
from ...running.report import Record
from ...spreading.places import Place, opened_places
from ...spreading.spread import spread
from ...workflows.errors import WorkflowError, as_sentences
from ..evaluate import EvaluateOptions
from .videos import FinishedVideo, SuiteVideo, VideoMaker
from .workflow import ARMS, PLAIN, TREATED, SuiteWorkflow

SUITES = tuple(SHIPPED)
BAR = "suite"
READS_NO_TEXT = "pixel"


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What the command line asks for; see its help. None: what the suite says; for `rate`, no page."""

    suite: str
    out: Path
    seeds: int | None = None
    workflow: Path | None = None
    server: Sequence[str] = ()
    dask: str | None = None
    features: str | None = None
    model: str = EvaluateOptions.model
    pretrained: str = EvaluateOptions.pretrained
    rate: int | None = None


def run_suite(options: SuiteOptions, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Makes what is missing, measures everything and compares; raises WorkflowError with a sentence."""
    if options.seeds is not None and options.seeds < 1:
        raise WorkflowError(f"Seeds is {options.seeds}; give at least 1.")
    try:
        suite = read_suite(options.suite)
        features = options.features or suite.features
        # Before hours of sampling, not after.
        models = _models(suite, features, options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise WorkflowError(as_sentences(str(error))) from error
    with opened_places(options.server, options.dask) as places:
        maker = VideoMaker.load(suite, places, out=options.out, workflow=options.workflow)
        planned = maker.videos(suite, options.seeds or suite.seeds)
        measured = _measured(maker, planned, places, models, record=record, bars=bars)
    results = [measured[video] for video in planned]
    record.videos.sort(key=lambda entry: [video.name for video in planned].index(Path(entry["path"]).stem))
    videos = [video["path"] for video in record.videos]
    facts = _facts(options, suite, maker=maker, features=features, results=results, videos=videos)
    return facts | _rating_page(options, suite, maker=maker, results=results, videos=videos)


def _models(suite: Suite, features: str, options: SuiteOptions) -> EvaluationModels:
    """The models that all videos are evaluated with; what should disappear is looked for where features can read."""
    concepts = [episode.concept for episode in suite.episodes if episode.concept]
    known = concepts[:1] if features != READS_NO_TEXT else []
    return load_models(
        features, model=options.model, pretrained=options.pretrained, concept=known[0] if known else ""
    )


def _measured(
    maker: VideoMaker,
    videos: Sequence[SuiteVideo],
    places: Sequence[Place],
    models: EvaluationModels,
    *,
    record: Record,
    bars: ProgressBars,
) -> dict[SuiteVideo, EpisodeResult]:
    """The result of every video, measured when it is made; the videos are noted in `record` in that order."""
    found: dict[SuiteVideo, EpisodeResult] = {}

    def take(video: SuiteVideo, finished: FinishedVideo) -> None:
        record.add_video(finished.path, probe_video(finished.path))
        found[video] = _result(video, finished, maker.workflows[video.arm].window, models)
        position = {"episode": video.episode.id, "arm": video.arm}
        bars.update(BAR, "TransitionBench", len(found), len(videos), info=position)

    bars.update(BAR, "TransitionBench", 0, len(videos))
    spread(videos, places, lambda place, video, own: maker.finish(video, place.runner, own), take)
    bars.close(BAR)
    return found


def _result(
    video: SuiteVideo, finished: FinishedVideo, window: int, models: EvaluationModels
) -> EpisodeResult:
    """The measures of a finished video; raises WorkflowError naming its episode."""
    try:
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
    except ValueError as error:
        raise WorkflowError(
            [f"Episode {video.episode.id}: {sentence}" for sentence in as_sentences(str(error))]
        ) from error


def _facts(
    options: SuiteOptions,
    suite: Suite,
    *,
    maker: VideoMaker,
    features: str,
    results: Sequence[EpisodeResult],
    videos: Sequence[str],
) -> dict[str, Any]:
    """What goes into the report, with the table and the contact sheet beside it."""
    cases = list(dict.fromkeys(episode.case for episode in suite.episodes))
    pairs = suite_summary.pairs_of(results, PLAIN, TREATED)
    rows, changes = suite_summary.rows(pairs, cases), suite_summary.differences(pairs, cases)
    text, remarks = suite_summary.table(rows, changes), _remarks(suite, features, results, len(pairs))
    (options.out / TABLE).write_text("\n".join([*remarks, "", text]), encoding="utf-8")
    suite_summary.save_sheet(options.out / SHEET, suite.episodes, results)
    print(text)
    return {
        "bench": "transition",
        "suite": suite.name,
        "workflow": options.workflow.name if options.workflow else suite.workflow,
        "server": options.server[0] if len(options.server) == 1 else list(options.server) or None,
        "dask": options.dask,
        "seeds": options.seeds or suite.seeds,
        "features": features,
        "remarks": remarks,
        "techniques": _techniques(maker.workflows[TREATED]),
        "rows": rows,
        "differences": changes,
        "episodes": [
            {
                "video": video,
                "image": episode.image,
                **result.to_json(),
                "seconds": round(result.seconds, 3),
                "prompts": [asdict(view) for view in (episode.old, episode.new) if view is not None],
            }
            for video, result in zip(videos, results)
            for episode in suite.episodes
            if episode.id == result.episode
        ],
        "switches": [
            [result.scores.to_json(result.fps)] if result.case in SWITCHES else [] for result in results
        ],
        "table": TABLE,
        "contact_sheet": SHEET,
    }


def _rating_page(
    options: SuiteOptions,
    suite: Suite,
    *,
    maker: VideoMaker,
    results: Sequence[EpisodeResult],
    videos: Sequence[str],
) -> dict[str, str]:
    """Writes the page on which people rate the videos, where one is asked for."""
    if options.rate is None:
        return {}
    episodes = {episode.id: episode for episode in suite.episodes}
    rated = [
        _rated(path, result, episodes[result.episode], maker.workflows[result.arm].window)
        for path, result in zip(videos, results, strict=True)
    ]
    page = write_page(options.out, rating_plan(rated, suite=suite.name, order=options.rate))
    return {"rating_page": page.name}


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


def _techniques(workflow: SuiteWorkflow) -> list[dict[str, Any]]:
    """The technique nodes of the workflow with their settings."""
    return [
        {
            "class": node.class_type,
            "title": node.title,
            "inputs": {name: value for name, value in node.inputs.items() if name not in dict(node.links())},
        }
        for node in workflow.techniques()
    ]


def _remarks(suite: Suite, features: str, results: Sequence[EpisodeResult], pairs: int) -> list[str]:
    """What must be known to read the numbers."""
    made = len(results) // len(ARMS)
    remarks = [
        (
            f"TransitionBench, suite {suite.name}, features {features}: in {pairs} of {made} pairs, plain and treated, the "
            "old scene is seen before the switch; only these count."
        )
    ]
    if pairs < made:
        reasons = {result.episode: result.why for result in results if not result.valid and result.why}
        remarks += [f"{episode}: {reason}." for episode, reason in reasons.items()]
    remarks.append("A case has few episodes: quote the pooled numbers, with their intervals.")
    if not all(result.evaluations for result in results):
        remarks.append(
            "No trace came with the videos: seconds are those of the whole run, and switches lie where sections of the "
            "sampler's window put them."
        )
    return remarks
