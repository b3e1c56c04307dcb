"""The study of later prompts: videos in layout original, with techniques that act in all sections, also in those made first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...samplers.techniques.attention.kv_gate import SemanticKVGate
from ...samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from ...samplers.techniques.presets import PRESETS
from ...tiny.bundle import TinyBundle
from ...tiny.detector import detect
from ...tiny.world import Scene
from ..transition.arms import PLAIN, Arm
from ..transition.episodes import SWITCHES, Episode, make_episode
from ..transition.measures import artefacts, holds, jumps_around, mostly
from ..transition.running.kept_batches import KeptBatch, OnSteps, run_batches
from ..transition.running.results import ResultFile, key_of, world_digest
from ..transition.running.sampling import BenchSettings, EpisodeSampler, images_of
from .results import LaterResult

VERSION = 1  # of what is measured and how: results of another version are not mixed with these
CASES = (*SWITCHES, "sham")
CHUNK = 8  # episodes sampled as one batch
SETTINGS = BenchSettings(layout="original", before=1, after=2)

Array = NDArray[Any]


ON_START = SemanticKVGate(gamma=2.0, last=0.0, history_2x=0.0, history_4x=0.0, apply_to="all")
LATER_ON_START = replace(ON_START, apply_to="later_prompts")
ARMS = (
    PLAIN,
    Arm("preset balanced before the switch, as wired", PRESETS["balanced"]),
    Arm("KV gate 2 on the start frame, all sections", (ON_START,)),
    Arm("KV gate 2 on the start frame, later prompt alone", (LATER_ON_START,)),
    Arm("the same, and preset balanced before the switch", (LATER_ON_START, *PRESETS["balanced"])),
    Arm("real guidance 4, all sections", (AdaptiveCFG(base=4.0, apply_to="all"),)),
)


class LaterSampler(EpisodeSampler):
    """Samples whole episodes with techniques from the first section that is made, the last one in time."""

    def sample_all(self, episodes: Sequence[Episode], arm: Arm) -> tuple[Array, int]:
        """The frames [B,T,64,64,3] in time, the first one being the start image's, and the model calls for each video."""
        driver = self._driver(arm, images_of([episode.image for episode in episodes]))
        frames, trace = self.sample_whole(episodes, driver)
        return frames, sum(section["evaluations"] for section in trace["sections"])


@dataclass(frozen=True, kw_only=True)
class LaterBench:
    """What is to be measured.

    folder: where results lie.
    seeds: the episodes of each case.
    settings: how they are sampled.
    """

    folder: Path
    seeds: range
    settings: BenchSettings = SETTINGS

    def batches(self) -> Iterator[tuple[Arm, list[Episode]]]:
        """What is sampled at a time."""
        for first in range(0, len(self.seeds), CHUNK):
            for case in CASES:
                episodes = [make_episode(case, seed) for seed in self.seeds[first : first + CHUNK]]
                yield from ((arm, episodes) for arm in ARMS)


def run(
    bench: LaterBench, bundle: TinyBundle, on_steps: OnSteps = lambda done, total, case: None
) -> list[LaterResult]:
    """Measure what is not measured yet and return all results; a run can be interrupted and begun again.

    `on_steps(done, total, case)` is called after every batch.
    """
    sampler = LaterSampler(bundle, bench.settings)
    fingerprint, batches = sampler.fingerprint(), []
    for arm, episodes in bench.batches():
        keys = _keys(fingerprint, arm, episodes)
        measured = partial(_measured, sampler, arm, episodes, keys)
        batches.append(KeptBatch(name=episodes[0].case, keys=keys, measured=measured))
    return run_batches(ResultFile.open(bench.folder, LaterResult.from_line), batches, on_steps)


def _keys(fingerprint: str, arm: Arm, episodes: Sequence[Episode]) -> list[str]:
    seeds = [episode.seed for episode in episodes]
    facts = [VERSION, world_digest(), fingerprint, episodes[0].case, arm.name, arm.describe(), seeds]
    return [key_of([*facts, seed]) for seed in seeds]


def _measured(
    sampler: LaterSampler, arm: Arm, episodes: Sequence[Episode], keys: Sequence[str]
) -> list[LaterResult]:
    videos, evaluations = sampler.sample_all(episodes, arm)
    return [
        measure(episode, frames, sampler.settings, key=key, arm=arm.name, evaluations=evaluations)
        for episode, frames, key in zip(episodes, videos, keys, strict=True)
    ]


def measure(episode: Episode, frames: Array, settings: BenchSettings, **named: Any) -> LaterResult:
    """Measure a video: frames [T,64,64,3] in 0..1 in time, the first one being the start image's."""
    section, switch = settings.section_frames, settings.switch_frame
    before, after = detect(frames[1:switch]), detect(frames[switch:])
    jumps = jumps_around(before, after, section) if episode.keeps_subject else {}
    ends = range(switch + section, len(frames) + 1, section)
    wrong = np.concatenate([artefacts(frames[1:switch], before), artefacts(frames[switch:], after)])
    return LaterResult(
        case=episode.case,
        seed=episode.seed,
        earlier=_shows(frames[switch - section // 3 : switch], episode.before, episode),
        later=tuple(_shows(frames[end - section // 3 : end], episode.after, episode) for end in ends),
        jump=jumps.get("jump"),
        artefacts=float(wrong.mean()),
        **named,
    )


def _shows(frames: Array, scene: Scene, episode: Episode) -> bool:
    return mostly(holds(detect(frames), scene, episode.asks_for_motion))
