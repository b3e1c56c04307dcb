"""The command `bench transition --suite`: a workflow's videos of a suite of episodes, plain and treated, measured."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...benchmarks.suites import summary as suite_summary
from ...benchmarks.suites.scripts import SHIPPED, Script, Suite, read_suite
from ...benchmarks.suites.verdicts import Verdict, judge
from ...benchmarks.transition.episodes import SWITCHES
from ...benchmarks.transition.pictures import SHEET, TABLE
from ...nodes.evaluation.models import EvaluationModels, load_models
from ...samplers.denoising.trace import TRACE_SCHEMA
from ..files.folders import Folders
from ..files.media import probe_video, video_batches
from ..running.progress import Bars
from ..running.report import Record, write_report
from ..running.runs import EXAMPLES, PACK, Here, There
from ..workflows.errors import WorkflowError
from .evaluate import Request as Evaluation
from .rig import ARMS, PLAIN, TREATED, Rig

SUITES = tuple(SHIPPED)
TAKES = "takes"  # folder of the videos, here and on the server
BAR = "suite"
READS_NO_TEXT = "pixel"


@dataclass(frozen=True)
class Request:
    """What the command line asks for; see its help. None: what the suite says."""

    suite: str
    out: Path
    seeds: int = 1
    workflow: Path | None = None
    server: str | None = None
    features: str | None = None
    model: str = Evaluation.model
    pretrained: str = Evaluation.pretrained


@dataclass(frozen=True)
class Shot:
    """One video to make: an episode with a seed under an arm; `key` names what it depends on."""

    script: Script
    seed: int
    arm: str
    key: str

    @property
    def name(self) -> str:
        """How its files are called."""
        return f"{self.script.id}_{self.seed}_{self.arm}_{self.key}"


@dataclass(frozen=True)
class Take:
    """A video that was made, the seconds it took, and the trace of its sampler (None: the workflow shows none)."""

    video: Path
    seconds: float
    trace: Mapping[str, Any] | None


@dataclass(frozen=True)
class Stage:
    """Where and how videos are made: the workflow with its specs, by arm, and the folders of the run."""

    venue: Here | There
    rigs: Mapping[str, Rig]
    specs: Mapping[str, Any]
    folders: Folders

    @classmethod
    def of(cls, request: Request, suite: Suite) -> Stage:
        """Loads the workflow; raises WorkflowError when it does not fit, or when no server answers."""
        path = request.workflow or PACK / EXAMPLES / "api" / suite.workflow
        places = Folders(suite.folder, request.out)
        venue = There(request.server) if request.server else Here()
        workflow, specs = venue.load(path, places)
        rig = Rig.of(workflow, path.name)
        return cls(venue, {arm: rig.arm(arm) for arm in ARMS}, specs, places)

    def shots(self, suite: Suite, seeds: int) -> list[Shot]:
        """All videos of the suite; plain and treated follow one another, so that a broken run leaves pairs."""
        return [
            Shot(script, seed, arm, self.rigs[arm].key(script, seed, suite.folder / script.image))
            for seed in range(1, seeds + 1)
            for script in suite.scripts
            for arm in ARMS
        ]

    def take(self, shot: Shot) -> Take:
        """The video of a shot, made now unless it is there; raises WorkflowError naming the episode."""
        video = self.folders.output / TAKES / f"{shot.name}.mp4"
        return _finished(video) or self._make(shot, video)

    def _make(self, shot: Shot, video: Path) -> Take:
        rig = self.rigs[shot.arm]
        workflow = rig.filled(shot.script, shot.seed, f"{TAKES}/{shot.name}")
        own, began, inner = Record(self.folders.output), time.perf_counter(), Bars()
        try:
            self.venue.run(workflow, self.specs, self.folders, own, inner)
        except WorkflowError as error:
            where = f"{shot.script.id}, seed {shot.seed}, {shot.arm}"
            raise WorkflowError([f"Episode {where}: {problem}" for problem in error.problems]) from error
        finally:
            inner.close()
        seconds = time.perf_counter() - began
        made = [entry["path"] for entry in own.videos if entry["node"] == rig.saver]
        if len(made) != 1:
            raise WorkflowError(
                f"Episode {shot.script.id}: {workflow[rig.saver]} has saved {len(made) or 'no'} videos; the suite needs "
                "one. With FramePackDecode, output must be video or both."
            )
        (self.folders.output / made[0]).replace(video)
        facts = {"episode": shot.script.id, "seed": shot.seed, "arm": shot.arm, "key": shot.key}
        trace = _trace(own)
        # Written last: only a video with its facts counts as finished.
        write_report(video.with_suffix(".json"), {**facts, "seconds": seconds, "trace": trace})
        return Take(video, seconds, trace)


def run_suite(request: Request, record: Record, bars: Bars) -> dict[str, Any]:
    """Makes what is missing, measures everything and compares; raises WorkflowError with a sentence."""
    if request.seeds < 1:
        raise WorkflowError(f"Seeds is {request.seeds}; give at least 1.")
    try:
        suite = read_suite(request.suite)
        features = request.features or suite.features
        # Before hours of sampling, not after.
        models = _models(suite, features, request)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise WorkflowError(_sentences(error)) from error
    stage = Stage.of(request, suite)
    verdicts = list(_verdicts(stage, stage.shots(suite, request.seeds), models, record, bars))
    videos = [video["path"] for video in record.videos]
    return _facts(request, suite, stage, features, verdicts, videos)


def _models(suite: Suite, features: str, request: Request) -> EvaluationModels:
    """The models that all videos are evaluated with; what should disappear is looked for where features can read."""
    concepts = [script.concept for script in suite.scripts if script.concept]
    known = concepts[:1] if features != READS_NO_TEXT else []
    return load_models(
        features, model=request.model, pretrained=request.pretrained, concept=known[0] if known else ""
    )


def _verdicts(
    stage: Stage, shots: Sequence[Shot], models: EvaluationModels, record: Record, bars: Bars
) -> Iterator[Verdict]:
    bars.update(BAR, "TransitionBench", 0, len(shots))
    for number, shot in enumerate(shots, 1):
        take = stage.take(shot)
        info = probe_video(take.video)
        record.add_video(take.video, info)
        try:
            yield judge(
                shot.script,
                video_batches(take.video),
                replace(models, concept=shot.script.concept),
                fps=info.fps,
                window=stage.rigs[shot.arm].window,
                trace=take.trace,
                wall_seconds=take.seconds,
                seed=shot.seed,
                arm=shot.arm,
            )
        except ValueError as error:
            raise WorkflowError(
                [f"Episode {shot.script.id}: {sentence}" for sentence in _sentences(error)]
            ) from error
        bars.update(BAR, "TransitionBench", number, len(shots), {"episode": shot.script.id, "arm": shot.arm})
    bars.close(BAR)


def _facts(
    request: Request,
    suite: Suite,
    stage: Stage,
    features: str,
    verdicts: Sequence[Verdict],
    videos: Sequence[str],
) -> dict[str, Any]:
    """What goes into the report, with the table and the contact sheet beside it."""
    cases = list(dict.fromkeys(script.case for script in suite.scripts))
    pairs = suite_summary.pairs_of(verdicts, PLAIN, TREATED)
    rows, changes = suite_summary.rows(pairs, cases), suite_summary.differences(pairs, cases)
    text, remarks = suite_summary.table(rows, changes), _remarks(suite, features, verdicts, len(pairs))
    (request.out / TABLE).write_text("\n".join([*remarks, "", text]), encoding="utf-8")
    suite_summary.save_sheet(request.out / SHEET, suite.scripts, verdicts)
    print(text)
    return {
        "bench": "transition",
        "suite": suite.name,
        "workflow": request.workflow.name if request.workflow else suite.workflow,
        "server": request.server,
        "seeds": request.seeds,
        "features": features,
        "remarks": remarks,
        "techniques": _techniques(stage.rigs[TREATED]),
        "rows": rows,
        "differences": changes,
        "episodes": [
            {
                "video": video,
                **verdict.to_json(),
                "seconds": round(verdict.seconds, 3),
                "prompts": [asdict(view) for view in (script.old, script.new) if view is not None],
            }
            for video, verdict in zip(videos, verdicts)
            for script in suite.scripts
            if script.id == verdict.episode
        ],
        "switches": [
            [verdict.scores.to_json(verdict.fps)] if verdict.case in SWITCHES else [] for verdict in verdicts
        ],
        "table": TABLE,
        "contact_sheet": SHEET,
    }


def _techniques(rig: Rig) -> list[dict[str, Any]]:
    """The technique nodes of the workflow with their settings."""
    return [
        {
            "class": node.class_type,
            "title": node.title,
            "inputs": {name: value for name, value in node.inputs.items() if name not in dict(node.links())},
        }
        for node in rig.techniques()
    ]


def _remarks(suite: Suite, features: str, verdicts: Sequence[Verdict], pairs: int) -> list[str]:
    """What must be known to read the numbers."""
    shots = len(verdicts) // len(ARMS)
    remarks = [
        (
            f"TransitionBench, suite {suite.name}, features {features}: in {pairs} of {shots} pairs, plain and treated, the "
            "old scene is seen before the switch; only these count."
        )
    ]
    if pairs < shots:
        reasons = {verdict.episode: verdict.why for verdict in verdicts if not verdict.valid and verdict.why}
        remarks += [f"{episode}: {reason}." for episode, reason in reasons.items()]
    remarks.append("A case has few episodes: quote the pooled numbers, with their intervals.")
    if not all(verdict.evaluations for verdict in verdicts):
        remarks.append(
            "No trace came with the videos: seconds are those of the whole run, and switches lie where sections of the "
            "sampler's window put them."
        )
    return remarks


def _finished(video: Path) -> Take | None:
    """A take that an earlier run has finished, None otherwise."""
    try:
        facts = json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))
        return Take(video, float(facts["seconds"]), facts["trace"]) if video.is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _trace(record: Record) -> Mapping[str, Any] | None:
    """The sampler's trace: of a run in this process, or as text from a node that shows it."""
    if record.traces:
        return record.traces[0]["trace"]
    for entry in record.texts:
        try:
            shown = json.loads(entry["text"])
        except ValueError:
            continue
        if isinstance(shown, Mapping) and shown.get("schema") == TRACE_SCHEMA:
            return shown
    return None


def _sentences(error: Exception) -> list[str]:
    """Each line of an error as a sentence."""
    lines = [" ".join(line.split()).rstrip(".") for line in str(error).splitlines() if line.strip()]
    return [f"{line[:1].upper()}{line[1:]}." for line in lines]
