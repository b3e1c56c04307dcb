"""The study of shots: what is to be made, and making what is not there yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tiny.bundle import TinyBundle
from ...tiny.detector import Detection, agrees, detect, matches
from ..transition.measures import HALF_SECOND, VALID_SHARE, mostly, shows_place, shows_subject
from ..transition.running.kept_batches import KeptBatch, OnSteps, run_batches
from ..transition.running.results import ResultFile, key_of, world_digest
from ..transition.running.sampling import BenchSettings
from .episodes import CASES, LENGTHS, RETURN, ShotEpisode, make_shot_episode
from .results import ShotResult, Shown
from .sampling import ARMS, BETWEEN, ShotArm, ShotSampler

VERSION = 1  # of what is measured and how: results of another version are not mixed with these
CHUNK = 8  # episodes sampled as one batch

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ShotBench:
    """What is to be measured.

    folder: where results lie.
    seeds: the episodes of each case.
    settings: how they are sampled; how many sections are under each prompt, LENGTHS says.
    """

    folder: Path
    seeds: range
    settings: BenchSettings = BenchSettings()

    def batches(self) -> Iterator[tuple[ShotArm, list[ShotEpisode]]]:
        """What is sampled at a time."""
        for first in range(0, len(self.seeds), CHUNK):
            for case in CASES:
                episodes = [make_shot_episode(case, seed) for seed in self.seeds[first : first + CHUNK]]
                yield from ((arm, episodes) for arm in ARMS[case])


def run(
    bench: ShotBench, bundle: TinyBundle, on_steps: OnSteps = lambda done, total, case: None
) -> list[ShotResult]:
    """Measure what is not measured yet and return all results; a run can be interrupted and begun again.

    `on_steps(done, total, case)` is called after every batch.
    """
    sampler = ShotSampler(bundle, bench.settings)
    fingerprint, batches = sampler.fingerprint(), []
    for arm, episodes in bench.batches():
        keys = _keys(fingerprint, arm, episodes)
        measured = partial(_measured, sampler, arm, episodes, keys)
        batches.append(KeptBatch(name=episodes[0].case, keys=keys, measured=measured))
    return run_batches(ResultFile.open(bench.folder, ShotResult.from_line), batches, on_steps)


def _keys(fingerprint: str, arm: ShotArm, episodes: Sequence[ShotEpisode]) -> list[str]:
    case, seeds = episodes[0].case, [episode.seed for episode in episodes]
    between = BETWEEN.describe() if case == RETURN else []
    facts = [VERSION, world_digest(), fingerprint, case, LENGTHS[case], asdict(arm), between, seeds]
    return [key_of([*facts, seed]) for seed in seeds]


def _measured(
    sampler: ShotSampler, arm: ShotArm, episodes: Sequence[ShotEpisode], keys: Sequence[str]
) -> list[ShotResult]:
    videos = sampler.sample_shots(episodes, arm)
    section = sampler.settings.section_frames
    return [
        measure(episode, frames, section, key=key, arm=arm.name, evaluations=videos.evaluations)
        for episode, frames, key in zip(episodes, videos.frames, keys, strict=True)
    ]


def measure(episode: ShotEpisode, frames: Array, section: int, **named: Any) -> ShotResult:
    """Measure a video: frames [1 + sections * section,64,64,3] in 0..1, the first one being the start image's."""
    ends = [1 + section * count for count in accumulate(LENGTHS[episode.case])]
    first, met = (detect(frames[end - HALF_SECOND : end]) for end in (ends[0], ends[-2]))
    thirds = [
        detect(frames[end - section // 3 : end]) for end in range(ends[-2] + section, ends[-1] + 1, section)
    ]
    return ShotResult(
        case=episode.case,
        seed=episode.seed,
        moves=episode.moves,
        valid=bool(agrees(first, episode.first).mean() >= VALID_SHARE),
        met=matches(met, episode.left),
        sections=tuple(_shown(episode, seen) for seen in thirds),
        away=_away(episode, first, thirds[0]) if episode.returns else None,
        **named,
    )


def _shown(episode: ShotEpisode, seen: Detection) -> Shown:
    same = shows_subject(seen, episode.first)
    return Shown(
        subject=mostly(same),
        size=mostly(same & (seen.size == episode.subject.size)),
        other=mostly(shows_subject(seen, episode.other)),
        place=mostly(shows_place(seen, episode.asked)),
        left=mostly(seen.background == episode.left.background),
    )


def _away(episode: ShotEpisode, before: Detection, after: Detection) -> float | None:
    """How far from its usual place in one detection the subject is in the other: the median over frames, in px."""
    old, new = (
        np.stack([seen.x, seen.y], axis=1)[shows_subject(seen, episode.first)] for seen in (before, after)
    )
    if not len(old) or not len(new):
        return None
    return float(np.median(np.hypot(*(new - np.median(old, axis=0)).T)))
