"""Making the videos of a suite and measuring each of them, whatever kind of suite it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ....benchmarks.suites.files import E, Suite
from ....benchmarks.transition.pictures import TABLE
from ....metrics.scoring.verdict import UNVALIDATED, VALIDATED
from ....nodes.evaluation.models import EvaluationModels, load_models
from ...files.media import probe_video
from ...running.progress import ProgressBars
from ...running.report import Record
from ...spreading.places import Place, opened_places
from ...spreading.spread import spread
from ...workflows.errors import WorkflowError, as_sentences
from ..evaluate import EvaluateOptions
from .videos import FinishedVideo, SuiteVideo, VideoMaker
from .workflow import TREATED

BAR = "suite"
READS_NO_TEXT = "pixel"

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What the command line asks for; see its help. None: what the suite says, or what is usual for scripts; for `rate`, no page."""

    suite: str
    out: Path
    seeds: int | None = None
    workflow: Path | None = None
    server: Sequence[str] = ()
    dask: str | None = None
    features: str | None = None
    model: str = EvaluateOptions.model
    pretrained: str = EvaluateOptions.pretrained
    detector: str = EvaluateOptions.detector
    detector_model: str = ""
    rate: int | None = None
    segment: float | None = None
    image: Path | None = None


@dataclass(frozen=True, kw_only=True)
class MeasuredSuite(Generic[E, R]):
    """A suite whose videos are made and measured.

    features: what frames were compared by. maker: what made the videos. results: of every video, in the order in which they
    were planned. paths: their files, as the report names them.
    """

    options: SuiteOptions
    suite: Suite[E]
    features: str
    maker: VideoMaker
    results: list[R]
    paths: list[str]

    def facts(self) -> dict[str, Any]:
        """What the report says of every kind of suite."""
        options, suite = self.options, self.suite
        return {
            "bench": "transition",
            "suite": suite.name,
            "workflow": options.workflow.name if options.workflow else suite.workflow,
            "server": options.server[0] if len(options.server) == 1 else list(options.server) or None,
            "dask": options.dask,
            "seeds": options.seeds or suite.seeds,
            "features": self.features,
            "techniques": self._techniques(),
        }

    def save_table(self, remarks: Sequence[str], text: str) -> None:
        """Write the table below what must be known to read it, and show it."""
        (self.options.out / TABLE).write_text("\n".join([*remarks, "", text]), encoding="utf-8")
        print(text)

    def remarks(self) -> list[str]:
        """What must be known of every kind of suite to read the numbers."""
        return [] if self.features in VALIDATED else [UNVALIDATED.format(features=self.features)]

    def _techniques(self) -> list[dict[str, Any]]:
        """The technique nodes of the workflow with their settings."""
        return [
            {
                "class": node.class_type,
                "title": node.title,
                "inputs": {
                    name: value for name, value in node.inputs.items() if name not in dict(node.links())
                },
            }
            for node in self.maker.workflows[TREATED].techniques()
        ]


def measure_suite(
    options: SuiteOptions,
    suite: Suite[E],
    concepts: Sequence[str],
    measure: Callable[[SuiteVideo[E], FinishedVideo, int, EvaluationModels], R],
    *,
    record: Record,
    bars: ProgressBars,
) -> MeasuredSuite[E, R]:
    """Makes what is missing and measures everything; raises WorkflowError with a sentence.

    concepts: what detectors look for in the suite's videos. measure: gives the result of a video, by the latent frames of a
    section and the models; the ValueErrors that it raises are told with the episode.
    """
    features = options.features or suite.features
    models = _models(options, features, concepts)  # before hours of sampling, not after
    with opened_places(options.server, options.dask) as places:
        maker = VideoMaker.load(suite, places, out=options.out, workflow=options.workflow)
        planned = maker.videos(suite, options.seeds or suite.seeds)

        def result(video: SuiteVideo[E], finished: FinishedVideo) -> R:
            try:
                return measure(video, finished, maker.workflows[video.arm].window, models)
            except ValueError as error:
                sentences = as_sentences(str(error))
                raise WorkflowError(
                    [f"Episode {video.episode.id}: {sentence}" for sentence in sentences]
                ) from error

        measured = _measured(maker, planned, places, result, record=record, bars=bars)
    names = {video.name: number for number, video in enumerate(planned)}
    record.videos.sort(key=lambda entry: names[Path(entry["path"]).stem])
    return MeasuredSuite(
        options=options,
        suite=suite,
        features=features,
        maker=maker,
        results=[measured[video.name] for video in planned],
        paths=[video["path"] for video in record.videos],
    )


def _models(options: SuiteOptions, features: str, concepts: Sequence[str]) -> EvaluationModels:
    """The models that all videos are evaluated with; things are looked for where features can read."""
    known = [concept for concept in concepts if concept] if features != READS_NO_TEXT else []
    try:
        return load_models(
            features,
            model=options.model,
            pretrained=options.pretrained,
            concept=known[0] if known else "",
            detector=options.detector,
            detector_model=options.detector_model,
        )
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise WorkflowError(as_sentences(str(error))) from error


def _measured(
    maker: VideoMaker,
    videos: Sequence[SuiteVideo[E]],
    places: Sequence[Place],
    result: Callable[[SuiteVideo[E], FinishedVideo], R],
    *,
    record: Record,
    bars: ProgressBars,
) -> dict[str, R]:
    """The result of every video by its name, measured when it is made; the videos are noted in `record` in that order."""
    found: dict[str, R] = {}

    def take(video: SuiteVideo[E], finished: FinishedVideo) -> None:
        record.add_video(finished.path, probe_video(finished.path))
        found[video.name] = result(video, finished)
        position = {"episode": video.episode.id, "arm": video.arm}
        bars.update(BAR, "TransitionBench", len(found), len(videos), info=position)

    bars.update(BAR, "TransitionBench", 0, len(videos))
    spread(videos, places, lambda place, video, own: maker.finish(video, place.runner, own), take)
    bars.close(BAR)
    return found
