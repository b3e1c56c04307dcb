"""The study of long videos: what is to be made, and making what is not there yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path

from ...samplers.techniques.presets import PRESETS
from ..transition.arms import PLAIN, Arm
from ..transition.running.kept_batches import KeptBatch, OnSteps, run_batches
from ..transition.running.results import ResultFile
from ..transition.running.sampling import BenchSettings
from .measures import SectionMeasures, SwitchMeasures, measure_long
from .results import LongResult, long_key
from .sampling import LongSampler, SampledLongVideos
from .scenarios import SCENARIOS, LongEpisode, make_long_episode

ARMS = (PLAIN, *(Arm(f"preset {name}", PRESETS[name]) for name in ("balanced", "strong")))
CHUNK = 8  # videos sampled as one batch


@dataclass(frozen=True)
class LongBatch:
    """Episodes of one scenario that are sampled together under one arm."""

    arm: Arm
    episodes: tuple[LongEpisode, ...]

    @property
    def scenario(self) -> str:
        """The scenario of all episodes."""
        return self.episodes[0].scenario

    def keys(self, fingerprint: str) -> list[str]:
        """The keys of the results; `fingerprint` is the sampler's."""
        seeds = [episode.seed for episode in self.episodes]
        return [long_key(fingerprint, episode, self.arm, seeds) for episode in self.episodes]

    def as_plain(self) -> LongBatch:
        """The batch that gives the same videos: the plain one where nothing is switched that techniques could act on."""
        switched = len(self.episodes[0].stretches) > 1
        return self if switched or self.arm.acts_without_a_switch else replace(self, arm=PLAIN)


@dataclass(frozen=True, kw_only=True)
class LongBench:
    """What is to be measured.

    folder: where results and pictures lie.
    seeds: the episodes of each scenario.
    settings: how they are sampled.
    arms: what they are sampled with; the first one is the plain sampler.
    scenarios: by name, kinds and lengths of the stretches.
    """

    folder: Path
    seeds: range
    settings: BenchSettings = BenchSettings()
    arms: Sequence[Arm] = ARMS
    scenarios: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=lambda: SCENARIOS)

    def switched_sections(self) -> dict[str, list[int]]:
        """For each scenario the sections with which its switches lie."""
        return {
            name: list(accumulate(length for _, length in shape[:-1]))
            for name, shape in self.scenarios.items()
        }

    def batches(self) -> Iterator[LongBatch]:
        """What is sampled at a time."""
        chunks = [self.seeds[first : first + CHUNK] for first in range(0, len(self.seeds), CHUNK)]
        for chunk in chunks:
            for name, shape in self.scenarios.items():
                episodes = tuple(make_long_episode(name, seed, shape) for seed in chunk)
                yield from (LongBatch(arm, episodes) for arm in self.arms)


def run(
    bench: LongBench, sampler: LongSampler, on_steps: OnSteps = lambda done, total, scenario: None
) -> list[LongResult]:
    """Measure what is not measured yet and return all results.

    A run can be interrupted and begun again: each batch is kept as soon as it is measured. `on_steps(done, total, scenario)` is
    called after every solver step.
    """
    fingerprint, kept = sampler.fingerprint(), ResultFile.open(bench.folder, LongResult.from_line)
    batches = [
        KeptBatch(
            name=batch.scenario,
            keys=batch.keys(fingerprint),
            measured=partial(_made, sampler, batch, kept.results, fingerprint),
            steps=batch.episodes[0].sections * bench.settings.steps,
        )
        for batch in bench.batches()
    ]
    return run_batches(kept, batches, on_steps)


def _made(
    sampler: LongSampler, batch: LongBatch, kept: Mapping[str, LongResult], fingerprint: str
) -> list[LongResult]:
    """The results of a batch: those of the plain one where they are the same and there, else sampled now."""
    alike = batch.as_plain().keys(fingerprint)
    found = [kept[key] for key in alike] if kept.keys() >= set(alike) else _measured(sampler, batch)
    return _named(found, batch, fingerprint)


def _measured(sampler: LongSampler, batch: LongBatch) -> list[LongResult]:
    """The results of a batch that is sampled now; their keys are yet to be given."""
    videos, section = sampler.sample_long(batch.episodes, batch.arm), sampler.settings.section_frames
    return [
        _result(episode, batch.arm, measure_long(episode, frames, section), videos)
        for episode, frames in zip(batch.episodes, videos.frames, strict=True)
    ]


def _result(
    episode: LongEpisode,
    arm: Arm,
    measures: tuple[Sequence[SwitchMeasures], Sequence[SectionMeasures]],
    videos: SampledLongVideos,
) -> LongResult:
    return LongResult(
        key="",
        scenario=episode.scenario,
        seed=episode.seed,
        arm=arm.name,
        switches=tuple(measures[0]),
        sections=tuple(measures[1]),
        evaluations=videos.evaluations,
        seconds=round(videos.seconds, 4),
    )


def _named(made: Sequence[LongResult], batch: LongBatch, fingerprint: str) -> list[LongResult]:
    """Results under the keys and the arm of their batch."""
    return [
        replace(result, key=key, arm=batch.arm.name)
        for key, result in zip(batch.keys(fingerprint), made, strict=True)
    ]
