"""The study of drift: videos of one scene and a switch at their end, with and without a planted drift and the colour anchor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...metrics.measuring.image_statistics import LUMA
from ...samplers.settings import SampleSettings
from ...tiny.bundle import TinyBundle
from ...tiny.detector import detect, matches
from ..long.sampling import LongSampler
from ..long.scenarios import START, LongEpisode, make_long_episode
from ..transition.arms import PLAIN, Arm
from ..transition.running.kept_batches import KeptBatch, OnSteps, run_batches
from ..transition.running.results import ResultFile, key_of, world_digest
from ..transition.running.sampling import BenchSettings
from .planted import PlantedGain
from .results import DriftResult

VERSION = 2  # of what is measured and how: results of another version are not mixed with these
SCENARIO, SECTIONS, SWITCH = "places", 8, "background"
CHUNK = 8  # videos sampled as one batch

Array = NDArray[Any]


@dataclass(frozen=True)
class DriftArm:
    """What videos are sampled with: whether a drift is planted, and how strong the colour anchor is."""

    name: str
    planted: bool
    colour_anchor: float

    @property
    def arm(self) -> Arm:
        """The techniques as an arm of TransitionBench."""
        planted = (PlantedGain(colour_anchor=self.colour_anchor),)
        return replace(PLAIN, techniques=planted if self.planted else ())

    @property
    def in_the_sampler(self) -> float:
        """The strength of the sampler's own colour anchor, which would act before a drift that is planted."""
        return 0.0 if self.planted else self.colour_anchor


ARMS = (
    DriftArm("plain", False, 0.0),
    DriftArm("colour anchor", False, 1.0),
    DriftArm("planted", True, 0.0),
    *(DriftArm(f"planted, colour anchor {strength:g}", True, strength) for strength in (0.25, 0.5, 1.0)),
)


class DriftSampler(LongSampler):
    """Samples long videos with a colour anchor of some strength, from 0 (off) to 1."""

    def __init__(self, bundle: TinyBundle, settings: BenchSettings, colour_anchor: float = 0.0) -> None:
        super().__init__(bundle, settings)
        self._colour_anchor = colour_anchor

    def _sampling(self, noise_seeds: Sequence[int]) -> SampleSettings:
        return replace(super()._sampling(noise_seeds), colour_anchor=self._colour_anchor)


@dataclass(frozen=True, kw_only=True)
class DriftBench:
    """What is to be measured.

    folder: where results lie.
    seeds: the videos.
    settings: how they are sampled.
    sections: how long they are before the switch; one more follows it.
    """

    folder: Path
    seeds: range
    settings: BenchSettings = BenchSettings()
    sections: int = SECTIONS

    def batches(self) -> Iterator[tuple[DriftArm, list[LongEpisode]]]:
        """What is sampled at a time."""
        for first in range(0, len(self.seeds), CHUNK):
            shape = ((START, self.sections), (SWITCH, 1))
            episodes = [
                make_long_episode(SCENARIO, seed, shape) for seed in self.seeds[first : first + CHUNK]
            ]
            yield from ((arm, episodes) for arm in ARMS)


def run(
    bench: DriftBench, bundle: TinyBundle, on_steps: OnSteps = lambda done, total, arm: None
) -> list[DriftResult]:
    """Measure what is not measured yet and return all results; a run can be interrupted and begun again.

    `on_steps(done, total, arm)` is called after every solver step.
    """
    fingerprint = DriftSampler(bundle, bench.settings).fingerprint()
    steps, batches = (bench.sections + 1) * bench.settings.steps, []
    for arm, episodes in bench.batches():
        keys = _keys(fingerprint, arm, episodes)
        sampler = DriftSampler(bundle, bench.settings, arm.in_the_sampler)
        measured = partial(_measured, sampler, arm, episodes, keys)
        batches.append(KeptBatch(name=arm.name, keys=keys, measured=measured, steps=steps))
    return run_batches(ResultFile.open(bench.folder, DriftResult.from_line), batches, on_steps)


def _keys(fingerprint: str, arm: DriftArm, episodes: Sequence[LongEpisode]) -> list[str]:
    seeds = [episode.seed for episode in episodes]
    what = [arm.arm.describe(), arm.colour_anchor, seeds]
    return [
        key_of([VERSION, world_digest(), fingerprint, episode.sections, episode.seed, arm.name, *what])
        for episode in episodes
    ]


def _measured(
    sampler: DriftSampler, arm: DriftArm, episodes: Sequence[LongEpisode], keys: Sequence[str]
) -> list[DriftResult]:
    videos = sampler.sample_long(episodes, arm.arm)
    section = sampler.settings.section_frames
    return [
        measure(episode, frames, section, key=key, arm=arm.name, evaluations=videos.evaluations)
        for episode, frames, key in zip(episodes, videos.frames, keys, strict=True)
    ]


def measure(episode: LongEpisode, frames: Array, section: int, **named: Any) -> DriftResult:
    """Measure a video: frames [1 + sections * section,64,64,3] in 0..1, the first one being the start image's, the last section the switch's."""
    by_section = frames[1:-section].reshape(-1, section, *frames.shape[1:])
    before, after = (detect(part[-(section // 3) :]) for part in (frames[:-section], frames))
    return DriftResult(
        seed=episode.seed,
        saturation=tuple((by_section.max(-1) - by_section.min(-1)).mean((1, 2, 3)).tolist()),
        brightness=tuple((by_section @ np.array(LUMA)).mean((1, 2, 3)).tolist()),
        kept=matches(before, episode.stretches[0].scene),
        switched=matches(after, episode.stretches[1].scene),
        **named,
    )
