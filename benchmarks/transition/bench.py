"""TransitionBench: does a prompt switch happen, how fast, how cleanly, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .arms import ARMS, USUAL_CONDITIONS, Arm
from .episodes import CASES
from .running.batch import Recording
from .running.kept_batches import OnSteps
from .running.recording import STRIPS, VIDEOS
from .running.results import Result, ResultFile, ResultKeys
from .running.sampling import BenchSettings, EpisodeSampler
from .running.tasks import Progress, Task, run_tasks

CHUNK = 8  # episodes sampled as one batch


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is to be measured.

    folder: where results and pictures lie.
    seeds: episodes of each case, from number `first_seed` on.
    settings: how they are sampled.
    arms: what they are sampled with; the first one is the plain sampler, with which the others are compared.
    cases: kinds of episodes.
    keeps_videos: whether the frames of every result are kept.
    """

    folder: Path
    seeds: int
    first_seed: int = 0
    settings: BenchSettings = BenchSettings()
    arms: Sequence[Arm] = ARMS
    cases: Sequence[str] = CASES
    keeps_videos: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(
                f"seeds is {self.seeds}; give at least 1 (8 for a quick look, 32 or more to quote)."
            )
        if self.first_seed < 0:
            raise ValueError(f"first_seed is {self.first_seed}; give 0 or more.")
        if not self.settings.forward and any(arm.conditions != USUAL_CONDITIONS for arm in self.arms):
            raise ValueError(
                f"layout is {self.settings.layout}, but an arm has conditions of its own, which are known for f1 alone; give arms "
                "without, or layout f1."
            )

    def chunks(self) -> Iterator[range]:
        """The seeds, in groups that are sampled as one batch."""
        end = self.first_seed + self.seeds
        return (range(first, min(first + CHUNK, end)) for first in range(self.first_seed, end, CHUNK))

    def tasks(self, keys: ResultKeys) -> list[Task]:
        """Everything that is to be measured, a task for each case and group of seeds."""
        videos = self.folder / VIDEOS if self.keeps_videos else None
        return [
            Task(
                settings=self.settings,
                keys=keys,
                case=case,
                seeds=seeds,
                arms=tuple(self.arms),
                recording=Recording(self.folder / STRIPS if self.first_seed in seeds else None, videos),
            )
            for seeds in self.chunks()
            for case in self.cases
        ]


def run(
    bench: Bench,
    sampler: EpisodeSampler,
    workers: int = 1,
    on_steps: OnSteps = lambda done, total, case: None,
) -> list[Result]:
    """Measure what is not measured yet and return all results, by arm, case and seed.

    A run can be interrupted and begun again: each batch is kept as soon as it is measured under an arm.
    `on_steps(done, total, case)` is called after every solver step, with the case that it belongs to. `workers`:
    processes, see `run_tasks`.
    """
    keys, kept = ResultKeys(sampler.fingerprint()), ResultFile.open(bench.folder, Result.from_line)
    tasks = bench.tasks(keys)
    missing = [task for task in (task.without(kept) for task in tasks) if task.arms]
    total = sum(task.steps for task in tasks)
    before = total - sum(task.steps for task in missing)
    done = [0] * len(missing)
    on_steps(before, total, "")

    def on_progress(progress: Progress) -> None:
        if progress.results:
            kept.add(progress.results)
        done[progress.task] = max(done[progress.task], progress.steps)
        on_steps(before + sum(done), total, missing[progress.task].case)

    run_tasks(missing, sampler, workers, on_progress)
    return [
        kept.results[keys.key(case, seed, arm, seeds)]
        for arm in bench.arms
        for case in bench.cases
        for seeds in bench.chunks()
        for seed in seeds
    ]
