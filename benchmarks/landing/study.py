"""The study of landing: the episodes of TransitionBench with a switch that is asked for inside a section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...samplers.conditioning import Prompt
from ...samplers.context.plan import FPS
from ...samplers.techniques.presets import PRESETS
from ...tiny.bundle import TinyBundle
from ...tiny.detector import Detection, detect
from ...tiny.world import Scene
from ..transition.arms import Arm
from ..transition.episodes import SWITCHES, Episode, make_episode
from ..transition.measures import HALF_SECOND, artefacts, holds, is_valid, jumps_around, mostly
from ..transition.running.kept_batches import KeptBatch, OnSteps, run_batches
from ..transition.running.results import ResultFile, key_of, world_digest
from ..transition.running.sampling import BenchSettings, EpisodeSampler
from ..transition.running.states import StartState
from .composition import Composition
from .results import LandingResult

VERSION = 1  # of what is measured and how: results of another version are not mixed with these
CASES = (*SWITCHES, "sham")
ASKED = 4  # latent frames of the section before the switch that is asked for; its border is nearer than the next one
CHUNK = 8  # episodes sampled as one batch
SEEN = 2 * HALF_SECOND  # frames before the section that are looked at too

Array = NDArray[Any]


@dataclass(frozen=True)
class LandingArm:
    """How an episode's switch lands: at the border or on its frame, and with which techniques."""

    arm: Arm
    landing: str = "border"

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.arm.name

    def landed(self) -> int:
        """The frame, of those sampled from the section's border on, from which on the new prompt has a say."""
        composed = any(isinstance(technique, Composition) for technique in self.arm.techniques)
        return 4 * ASKED if composed or self.landing == "frame" else 0


ARMS = (
    LandingArm(Arm("plain, at the border")),
    LandingArm(Arm("preset balanced, at the border", PRESETS["balanced"])),
    LandingArm(Arm("plain, on its frame"), "frame"),
    LandingArm(Arm("preset clean, on its frame", PRESETS["clean"]), "frame"),
    LandingArm(Arm("preset balanced, on its frame", PRESETS["balanced"]), "frame"),
    LandingArm(Arm("composition", (Composition(frames=ASKED),))),
)


class LandingSampler(EpisodeSampler):
    """Samples episodes whose switch is asked for inside a section."""

    landing = "border"

    def planned(self, episodes: Sequence[Episode], start: StartState, landing: str) -> StartState:
        """The episodes as they go on where their switch lands at the border or on its frame."""
        self.landing = landing
        sections = self._sections(episodes)[self.settings.shared :]
        return replace(start, sections=sections)

    def _prompts(self, episodes: Sequence[Episode]) -> list[Prompt]:
        first, switch = super()._prompts(episodes)
        asked = (self.settings.switch_frame + 4 * ASKED) / FPS
        return [first, replace(switch, start=asked, landing=self.landing)]


@dataclass(frozen=True, kw_only=True)
class LandingBench:
    """What is to be measured.

    folder: where results lie.
    seeds: the episodes of each case.
    settings: how they are sampled.
    """

    folder: Path
    seeds: range
    settings: BenchSettings = BenchSettings()

    def batches(self) -> Iterator[list[Episode]]:
        """What is sampled at a time."""
        for case in CASES:
            for first in range(0, len(self.seeds), CHUNK):
                yield [make_episode(case, seed) for seed in self.seeds[first : first + CHUNK]]


def run(
    bench: LandingBench, bundle: TinyBundle, on_steps: OnSteps = lambda done, total, case: None
) -> list[LandingResult]:
    """Measure what is not measured yet and return all results; a run can be interrupted and begun again.

    `on_steps(done, total, case)` is called after every batch.
    """
    sampler = LandingSampler(bundle, bench.settings)
    fingerprint, batches = sampler.fingerprint(), []
    for episodes in bench.batches():
        keys = _keys(fingerprint, episodes)
        measured = partial(_measured, sampler, episodes, keys)
        batches.append(KeptBatch(name=episodes[0].case, keys=keys, measured=measured))
    return run_batches(ResultFile.open(bench.folder, LandingResult.from_line), batches, on_steps)


def _keys(fingerprint: str, episodes: Sequence[Episode]) -> list[str]:
    """The keys of a batch's results: all episodes under the first arm, then under the next."""
    seeds = [episode.seed for episode in episodes]
    facts = [VERSION, world_digest(), fingerprint, ASKED, episodes[0].case, seeds]
    return [
        key_of([*facts, seed, arm.name, arm.landing, arm.arm.describe()]) for arm in ARMS for seed in seeds
    ]


def _measured(
    sampler: LandingSampler, episodes: Sequence[Episode], keys: Sequence[str]
) -> list[LandingResult]:
    start, names, found = sampler.sample_past(episodes), iter(keys), []
    for arm in ARMS:
        videos = sampler.sample_after_switch(sampler.planned(episodes, start, arm.landing), arm.arm)
        found += [
            measure(
                episode,
                np.concatenate([before[-SEEN:], after]),
                sampler.settings.section_frames,
                arm,
                key=next(names),
                evaluations=videos.evaluations,
            )
            for episode, before, after in zip(episodes, start.frames, videos.frames, strict=True)
        ]
    return found


def measure(
    episode: Episode, frames: Array, section: int, arm: LandingArm, *, key: str, evaluations: int
) -> LandingResult:
    """Measure a video: frames [SEEN + T,64,64,3] in 0..1, of which T, two sections, were sampled under the arm."""
    seen, asked, landed = detect(frames), SEEN + 4 * ASKED, SEEN + arm.landed()
    jumps = jumps_around(seen[:landed], seen[landed:], section) if episode.keeps_subject else {}
    first = slice(SEEN, SEEN + section)
    return LandingResult(
        key=key,
        case=episode.case,
        seed=episode.seed,
        arm=arm.name,
        valid=is_valid(seen[:SEEN], episode),
        before=_shows(seen[SEEN:asked], episode.before, episode),
        after=_shows(seen[asked : first.stop], episode.after, episode),
        lasting=_shows(seen[len(seen) - section // 3 :], episode.after, episode),
        jump=jumps.get("jump"),
        artefacts=float(artefacts(frames[first], seen[first]).mean()),
        evaluations=evaluations,
    )


def _shows(seen: Detection, scene: Scene, episode: Episode) -> bool:
    return mostly(holds(seen, scene, episode.asks_for_motion))
