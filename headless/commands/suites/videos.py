"""The videos of a suite: which ones there are, and making those that are not there yet."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, Generic

from ....benchmarks.suites.files import E, Suite
from ...files.folders import Folders
from ...running.progress import ProgressBars
from ...running.report import Record, traces_of, write_report
from ...running.runs import EXAMPLES, PACK, Runner
from ...running.server import ServerGone
from ...spreading.places import Place, load_for
from ...workflows.errors import WorkflowError
from ...workflows.specs import NodeSpec
from .workflow import ARMS, SuiteWorkflow

VIDEO_FOLDER = "takes"  # in the output folder, here and on the server


@dataclass(frozen=True)
class SuiteVideo(Generic[E]):
    """A video of a suite, made or not.

    episode, seed: the episode and the seed of its noise.
    arm: "plain" or "treated".
    key: a hash of everything that the video depends on.
    """

    episode: E
    seed: int
    arm: str
    key: str

    @property
    def name(self) -> str:
        """The name of its files, without their suffix."""
        return f"{self.episode.id}_{self.seed}_{self.arm}_{self.key}"


@dataclass(frozen=True)
class FinishedVideo:
    """A video file, the seconds it took, and the trace of its sampler (None: the workflow shows none)."""

    path: Path
    seconds: float
    trace: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class VideoMaker:
    """Makes the videos of a suite.

    workflows: the workflow of each arm.
    specs: what is known of the workflow's node classes.
    folders: the suite's folder with its start images, and the output folder.
    """

    workflows: Mapping[str, SuiteWorkflow]
    specs: Mapping[str, NodeSpec]
    folders: Folders

    @classmethod
    def load(
        cls, suite: Suite[E], places: Sequence[Place], *, out: Path, workflow: Path | None
    ) -> VideoMaker:
        """Loads the workflow (None: the suite's own); raises WorkflowError when it does not fit or no place answers."""
        path = workflow or PACK / EXAMPLES / "api" / suite.workflow
        folders = Folders(suite.folder, out)
        nodes, specs = load_for(places, path, folders)
        treated = SuiteWorkflow.of(nodes, path.name)
        workflows = {arm: treated.arm(arm) for arm in ARMS}
        return cls(workflows=workflows, specs=specs, folders=folders)

    def videos(self, suite: Suite[E], seeds: int) -> list[SuiteVideo[E]]:
        """All videos of the suite; plain and treated follow one another, so that an interrupted run leaves pairs."""
        return [
            SuiteVideo(
                episode, seed, arm, self.workflows[arm].key(episode, seed, suite.folder / episode.image)
            )
            for seed in range(1, seeds + 1)
            for episode in suite.episodes
            for arm in ARMS
        ]

    def finish(self, video: SuiteVideo[E], runner: Runner, bars: ProgressBars) -> FinishedVideo:
        """The finished video, made now unless it is there; raises WorkflowError naming the episode, and ServerGone."""
        path = self.folders.output / VIDEO_FOLDER / f"{video.name}.mp4"
        return _finished(path) or self._make(video, path, runner, bars)

    def _make(self, video: SuiteVideo[E], path: Path, runner: Runner, bars: ProgressBars) -> FinishedVideo:
        remove_parts(path)
        began = time.perf_counter()
        try:
            record = self._run(video, runner, bars)
            seconds = time.perf_counter() - began
            (self.folders.output / self._saved(video, record)).replace(path)
        except BaseException:
            remove_parts(path)
            raise
        trace = next(iter(traces_of(record)), None)
        facts = {"episode": video.episode.id, "seed": video.seed, "arm": video.arm, "key": video.key}
        # Written last: only a video with its facts counts as finished.
        write_report(path.with_suffix(".json"), {**facts, "seconds": seconds, "trace": trace})
        return FinishedVideo(path, seconds, trace)

    def _run(self, video: SuiteVideo[E], runner: Runner, bars: ProgressBars) -> Record:
        """Runs the video's workflow and returns what it made."""
        prefix = f"{VIDEO_FOLDER}/{video.name}"
        workflow = self.workflows[video.arm].filled(video.episode, video.seed, prefix)
        record = Record(self.folders.output)
        try:
            runner.run(workflow, self.specs, places=self.folders, record=record, bars=bars)
        except ServerGone:
            raise
        except WorkflowError as error:
            where = f"{video.episode.id}, seed {video.seed}, {video.arm}"
            raise WorkflowError([f"Episode {where}: {problem}" for problem in error.problems]) from error
        return record

    def _saved(self, video: SuiteVideo[E], record: Record) -> str:
        """The one video that the workflow has saved; raises WorkflowError when there is none, or more."""
        suite_workflow = self.workflows[video.arm]
        node = suite_workflow.save_node
        saved = [str(entry["path"]) for entry in record.videos if entry["node"] == node]
        if len(saved) != 1:
            raise WorkflowError(
                f"Episode {video.episode.id}: {suite_workflow.workflow[node]} has saved {len(saved) or 'no'} videos; "
                "the suite needs one. With FramePackDecode, output must be video or both."
            )
        return saved[0]


def remove_parts(path: Path) -> None:
    """Removes what runs that were stopped have left of a video, which is to be at `path`."""
    name = escape(path.stem)
    for part in [*path.parent.glob(f"{name}_*"), *path.parent.glob(f".{name}*")]:
        part.unlink(missing_ok=True)


def _finished(path: Path) -> FinishedVideo | None:
    """A video that an earlier run has finished, None otherwise."""
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return FinishedVideo(path, float(facts["seconds"]), facts["trace"]) if path.is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
