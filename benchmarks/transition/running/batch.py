"""A batch of episodes of one case: sampled up to the switch once, then measured under one arm after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..arms import EXEMPLAR, PLAIN, USUAL_CONDITIONS, Arm
from ..episodes import Episode, as_generated, episode_under, reversed_episode
from ..judge import judge_of
from ..measures import HALF_SECOND
from .recording import save_strip, save_video_frames, strip_frames
from .results import Result, ResultKeys
from .sampling import EpisodeSampler
from .states import SampledVideos, StartState

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class MeasuredPast:
    """A batch of episodes until the switch is met.

    start: what sampling goes on from.
    detections: what the detector sees in the last second, for each episode.
    valid: whether that is the scene that the prompt there asks for, for each episode.
    """

    start: StartState
    detections: list[Any]
    valid: list[bool]


@dataclass(frozen=True)
class Recording:
    """Which pictures are kept: a strip of one episode in folder `strips`, the frames of all in folder `videos`.

    None keeps nothing.
    """

    strips: Path | None = None
    videos: Path | None = None


class EpisodeBatch:
    """Episodes of one case that are sampled together, and their measures under any arm."""

    def __init__(self, sampler: EpisodeSampler, episodes: Sequence[Episode]) -> None:
        self._sampler, self._episodes = sampler, episodes
        self._plain: SampledVideos | None = None
        self._pasts: dict[str, MeasuredPast] = {}

    def past(self, history: str) -> MeasuredPast:
        """The sections before the switch when the past shows the "old" or the "new" scene; sampled once for each.

        For "zero", where the sampler sees no past, and for an exemplar it is the old scene that the measures compare with.
        """
        if history in ("zero", EXEMPLAR):
            return self.past("old")
        if history not in self._pasts:
            self._pasts[history] = self._sample_past(history)
        return self._pasts[history]

    def _sample_past(self, history: str) -> MeasuredPast:
        shown = list(self._episodes)
        if history == "new":
            shown = [reversed_episode(episode) for episode in shown]
        start = self._sampler.sample_past(shown)
        judge, detections = judge_of(shown[0]), self._last_second(start.frames)
        valid = [
            judge.is_valid(seen, self._as_generated(episode))
            for seen, episode in zip(detections, shown, strict=True)
        ]
        return MeasuredPast(start, detections, valid)

    def _as_generated(self, episode: Episode) -> Episode:
        return as_generated(episode, self._sampler.settings.forward)

    def _last_second(self, videos: Array) -> list[Any]:
        """What is seen in the last second of each of the videos [B,T,64,64,3]."""
        judge = judge_of(self._episodes[0])
        return [judge.see(frames[-2 * HALF_SECOND :]) for frames in videos]

    def measure(self, arm: Arm, keys: ResultKeys, recording: Recording = Recording()) -> list[Result]:
        """Sample all episodes under an arm and measure them.

        The strip that `recording` asks for is that of the first valid episode, or of the first one without any.
        """
        videos, past = self._sample(arm), self.past(arm.conditions.history)
        seeds = [episode.seed for episode in self._episodes]
        judge = judge_of(self._episodes[0])
        shared = past.start.frames if videos.shared is None else videos.shared
        seen = past.detections if videos.shared is None else self._last_second(shared)
        results = [
            Result(
                key=keys.key(episode.case, episode.seed, arm, seeds),
                case=episode.case,
                seed=episode.seed,
                arm=arm.name,
                valid=past.valid[number],
                measures=judge.measure(
                    episode_under(self._as_generated(episode), arm.conditions.history, arm.conditions.prompt),
                    seen[number],
                    videos.frames[number],
                    self._sampler.settings.section_frames,
                ),
                evaluations=videos.evaluations,
                seconds=round(videos.seconds, 4),
            )
            for number, episode in enumerate(self._episodes)
        ]
        self._record(recording, results, shared=shared, videos=videos)
        return results

    def _sample(self, arm: Arm) -> SampledVideos:
        """The episodes after the switch; without a switch most arms equal the plain one, bit by bit."""
        start = self.past(arm.conditions.history).start
        if arm.conditions != USUAL_CONDITIONS:
            start = self._sampler.with_conditions(self._episodes, start, arm.conditions)
            return self._sampler.sample_after_switch(start, arm)
        if self._episodes[0].switches or arm.acts_without_a_switch:
            return self._sampler.sample_after_switch(start, arm)
        if self._plain is None:
            self._plain = self._sampler.sample_after_switch(start, PLAIN)
        return self._plain

    def _record(
        self, recording: Recording, results: Sequence[Result], *, shared: Array, videos: SampledVideos
    ) -> None:
        shown = next((number for number, result in enumerate(results) if result.valid), 0)
        for number, (result, before, after) in enumerate(zip(results, shared, videos.frames, strict=True)):
            if recording.videos is not None:
                save_video_frames(recording.videos / f"{result.key}.npz", before, after)
            if recording.strips is not None and number == shown:
                save_strip(recording.strips / f"{result.key}.png", self._strip(before, after))

    def _strip(self, before: Array, after: Array) -> list[Array]:
        """The last frame before the switch and those of `strip_frames`."""
        return [before[-1], *(after[frame - 1] for frame in strip_frames(self._sampler.settings))]
