"""TransitionBench: does a prompt switch happen, how fast, how cleanly, and at what cost."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...tiny import detector, world
from ...tiny.bundle import load_tiny
from ...tiny.detector import Detection, detect
from ...tiny.source import source_digest
from ...tiny.threads import one_thread
from . import judge
from .arms import ARMS, PLAIN, USUAL, Arm
from .episodes import CASES, Episode, make_episode, seen_from, turned
from .studio import Scenario, Settings, Studio, Take

logger = logging.getLogger(__name__)

VERSION = 3  # of what is measured and how: results of another version are not mixed with these
CHUNK = 8  # episodes sampled as one batch, which is also what an interrupted run loses for each worker
EPISODES = "episodes.jsonl"
STRIPS = "strips"  # folder of the pictures that the contact sheet is made of
FILMS = "films"  # folder of the frames of every result, where a bench keeps them

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Bench:
    """What is to be measured; results lie in `folder`, with frames where `keeps_films`. `arms` begin with the plain one."""

    folder: Path
    seeds: int
    settings: Settings = Settings()
    arms: Sequence[Arm] = ARMS
    cases: Sequence[str] = CASES
    keeps_films: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(
                f"seeds is {self.seeds}; give at least 1 (8 for a quick look, 32 or more to quote)."
            )

    def chunks(self) -> Iterator[range]:
        """The seeds, in groups that are sampled as one batch."""
        return (range(first, min(first + CHUNK, self.seeds)) for first in range(0, self.seeds, CHUNK))


@dataclass(frozen=True)
class Result:
    """One line of the results: an episode under one arm; `valid` says it was right before the switch."""

    key: str
    case: str
    seed: int
    arm: str
    valid: bool
    measures: judge.Measures
    evaluations: int
    seconds: float

    def to_line(self) -> str:
        """The result as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Result:
        """The inverse of `to_line`; raises ValueError, KeyError or TypeError for other text."""
        facts = json.loads(line)
        measures = facts.pop("measures")
        return cls(measures=judge.Measures(**{**measures, "held": tuple(measures["held"])}), **facts)


@dataclass
class Ledger:
    """The results on disk, by key: one line each, appended as they come."""

    path: Path
    results: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Read what an earlier run has left; a line that was cut off is measured again."""
        ledger = cls(folder / EPISODES)
        if ledger.path.is_file():
            for number, line in enumerate(ledger.path.read_text(encoding="utf-8").splitlines(), 1):
                try:
                    result = Result.from_line(line)
                except (ValueError, KeyError, TypeError) as error:
                    logger.warning(
                        "%s, line %d cannot be read (%s) and is measured again.", ledger.path, number, error
                    )
                else:
                    ledger.results[result.key] = result
        return ledger

    def add(self, results: Sequence[Result]) -> None:
        """Keep results of one batch."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(result.to_line() for result in results)
        cut_off = (
            self.path.is_file() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n")
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" * bool(cut_off) + text)
        self.results.update((result.key, result) for result in results)


@dataclass(frozen=True)
class Keys:
    """Names results by everything that they depend on; `fingerprint` is the studio's."""

    fingerprint: str

    def of(self, case: str, seed: int, arm: Arm, beside: Sequence[int]) -> str:
        """The key of an episode under an arm; `beside` has the seeds of the batch in which it is sampled.

        In bfloat16 a batch of another size may round otherwise.
        """
        what = [arm.name, arm.describe(), asdict(arm.premise)]
        facts = [VERSION, world_digest(), self.fingerprint, case, seed, list(beside), *what]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


@cache
def world_digest() -> str:
    """A digest of the code that draws the embedded world, writes its prompts and detects its scenes."""
    return source_digest(world, detector)


@dataclass(frozen=True)
class Task:
    """Episodes of one case, to be measured under some arms; `strips` takes pictures of one of them, `films` the frames of all."""

    settings: Settings
    keys: Keys
    case: str
    seeds: range
    arms: tuple[Arm, ...]
    strips: Path | None
    films: Path | None = None


def run(
    bench: Bench, studio: Studio, workers: int = 1, progress: Progress = lambda done, total, what: None
) -> list[Result]:
    """Measure what is not measured yet and return all results in a fixed order; can be interrupted.

    More `workers` than one are processes that load the embedded model themselves. Each computes with one
    thread, so that the results do not depend on their number.
    """
    keys, ledger = Keys(studio.fingerprint()), Ledger.open(bench.folder)
    tasks = [_rest_of(task, ledger) for task in _tasks(bench, keys)]
    total = len(tasks) * len(bench.arms)
    done = total - sum(len(task.arms) for task in tasks)
    progress(done, total, "")
    for task, results in _measured([task for task in tasks if task.arms], studio, workers):
        ledger.add(results)
        done += len(task.arms)
        progress(done, total, task.case)
    return [
        ledger.results[keys.of(case, seed, arm, seeds)]
        for arm in bench.arms
        for case in bench.cases
        for seeds in bench.chunks()
        for seed in seeds
    ]


def _tasks(bench: Bench, keys: Keys) -> list[Task]:
    """Everything that a benchmark asks for."""
    return [
        Task(
            bench.settings,
            keys,
            case,
            seeds,
            tuple(bench.arms),
            bench.folder / STRIPS if 0 in seeds else None,
            bench.folder / FILMS if bench.keeps_films else None,
        )
        for seeds in bench.chunks()
        for case in bench.cases
    ]


def _rest_of(task: Task, ledger: Ledger) -> Task:
    """The task without the arms whose results are all there."""
    missing = (
        arm
        for arm in task.arms
        if not all(task.keys.of(task.case, seed, arm, task.seeds) in ledger.results for seed in task.seeds)
    )
    return replace(task, arms=tuple(missing))


def _measured(tasks: Sequence[Task], studio: Studio, workers: int) -> Iterator[tuple[Task, list[Result]]]:
    """The results of every task, as they come."""
    if min(workers, len(tasks)) <= 1:
        with one_thread():
            yield from ((task, measure(task, studio)) for task in tasks)
        return
    with get_context("spawn").Pool(min(workers, len(tasks)), _start_worker) as pool:
        yield from pool.imap_unordered(_measure_in_worker, tasks)


def _start_worker() -> None:
    """An interrupt is for the parent, which ends its workers; what is to be said, it says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)


def _measure_in_worker(task: Task) -> tuple[Task, list[Result]]:
    return task, measure(task, _studio_of_worker(task.settings))


@cache
def _studio_of_worker(settings: Settings) -> Studio:
    return Studio(load_tiny(), settings)


def measure(task: Task, studio: Studio) -> list[Result]:
    """Sample and judge a task's episodes; their common past is sampled once."""
    shoot = Shoot(studio, [make_episode(task.case, seed) for seed in task.seeds])
    return [result for arm in task.arms for result in shoot.measure(arm, task.keys, task.strips, task.films)]


@dataclass(frozen=True, eq=False)
class Past:
    """What a batch of episodes looks like up to the switch, what the detector saw, and whether it was right."""

    scenario: Scenario
    seen: list[Detection]
    valid: list[bool]


class Shoot:
    """Some episodes of one case up to their switch, and what the detector saw of that."""

    def __init__(self, studio: Studio, episodes: Sequence[Episode]) -> None:
        self._studio, self._episodes = studio, episodes
        self._plain: Take | None = None
        self._pasts: dict[str, Past] = {}

    def _past(self, history: str) -> Past:
        """What was sampled before the switch, once for each history; without one the old scene is what went before."""
        if history == "zero":
            return self._past("old")
        if history not in self._pasts:
            shown = [turned(episode) for episode in self._episodes] if history == "new" else self._episodes
            scenario = self._studio.prepare(shown)
            seen = [detect(frames[-2 * judge.HALF_SECOND :]) for frames in scenario.frames]
            valid = [judge.is_valid(past, episode) for past, episode in zip(seen, shown)]
            self._pasts[history] = Past(scenario, seen, valid)
        return self._pasts[history]

    def measure(self, arm: Arm, keys: Keys, strips: Path | None, films: Path | None = None) -> list[Result]:
        """Sample and judge all episodes under an arm; draw the first valid one where `strips` is a folder."""
        take, past = self._take(arm), self._past(arm.premise.history)
        shown = past.valid.index(True) if True in past.valid else 0
        seeds = [episode.seed for episode in self._episodes]
        results = []
        for number, (episode, seen) in enumerate(zip(self._episodes, past.seen)):
            key, frames = keys.of(episode.case, episode.seed, arm, seeds), take.frames[number]
            judged = seen_from(episode, arm.premise.history, arm.premise.prompt)
            measures = judge.judge(judged, seen, frames, self._studio.settings.section_frames)
            results.append(
                Result(
                    key,
                    episode.case,
                    episode.seed,
                    arm.name,
                    past.valid[number],
                    measures,
                    take.evaluations,
                    round(take.seconds, 4),
                )
            )
            if films is not None:
                save_film(films / f"{key}.npz", past.scenario.frames[number], frames)
            if strips is not None and number == shown:
                save_strip(strips / f"{key}.png", self._strip(past.scenario.frames[number], frames))
        return results

    def _take(self, arm: Arm) -> Take:
        """What an arm makes of the episodes; without a switch most arms equal the plain one, bit by bit."""
        scenario = self._past(arm.premise.history).scenario
        if arm.premise != USUAL:
            return self._studio.go_on(self._studio.meet(self._episodes, scenario, arm.premise), arm)
        if self._episodes[0].switches or arm.acts_without_a_switch:
            return self._studio.go_on(scenario, arm)
        if self._plain is None:
            self._plain = self._studio.go_on(scenario, PLAIN)
        return self._plain

    def _strip(self, past: np.ndarray, new: np.ndarray) -> list[np.ndarray]:
        """The last frame before the switch and those of `strip_frames`."""
        return [past[-1], *(new[frame - 1] for frame in strip_frames(self._studio.settings))]


def strip_frames(settings: Settings) -> list[int]:
    """Which frames after the switch a strip shows, from 1: of the first new section, and the last one."""
    section = settings.section_frames
    return [1, section // 3, section, settings.after * section]


def save_strip(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write frames [H,W,3] in 0..1 side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(np.concatenate(frames, axis=1) * 255).astype(np.uint8)).save(path)


def save_film(path: Path, before: np.ndarray, after: np.ndarray) -> None:
    """Keep the last half second before a switch and what follows it, frames [T,H,W,3] in 0..1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"before": before[-judge.HALF_SECOND :], "after": after}
    np.savez_compressed(path, **{name: np.round(255 * part).astype(np.uint8) for name, part in parts.items()})


def load_film(path: Path) -> tuple[np.ndarray, int]:
    """Frames uint8 [T,H,W,3] that `save_film` has kept, and the number of the first one after the switch."""
    with np.load(path) as film:
        return np.concatenate([film["before"], film["after"]]), len(film["before"])


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
