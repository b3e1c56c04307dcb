"""Samples long videos with the embedded model: all sections of one after another, under a prompt for each stretch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from ...samplers.conditioning import Prompt
from ...samplers.context.plan import FPS, Section, plan_sections
from ...samplers.timeline.assignment import assign_prompts
from ..transition.arms import Arm
from ..transition.running.decoding import decoded_videos
from ..transition.running.sampling import EpisodeSampler, images_of
from .scenarios import LongEpisode


@dataclass(frozen=True, eq=False)
class SampledLongVideos:
    """Videos of a batch of episodes.

    frames: float [T,64,64,3] in 0..1 of one video after another, decoded as they are asked for; the first frame is the start
        image's.
    evaluations: calls of the model for each video.
    seconds: time for each video.
    """

    frames: Iterator[NDArray[Any]]
    evaluations: int
    seconds: float


class LongSampler(EpisodeSampler):
    """Samples batches of long episodes of one scenario."""

    @torch.inference_mode()
    def sample_long(self, episodes: Sequence[LongEpisode], arm: Arm) -> SampledLongVideos:
        """The videos of episodes with the techniques of an arm."""
        images = images_of([episode.image for episode in episodes])
        driver = self._driver(arm, images)
        sampling = self._sampling([episode.noise_seed for episode in episodes])
        latents, trace = self._sample(
            driver, self._long_sections(episodes), self._inputs(driver, images), sampling
        )
        sections, scaled = trace["sections"], driver.to_vae(latents)
        return SampledLongVideos(
            # One at a time: the frames of a minute take 90 MB.
            decoded_videos(self.bundle.vae, scaled),
            sum(section["evaluations"] for section in sections),
            sum(section["seconds"] for section in sections) / len(episodes),
        )

    def _long_sections(self, episodes: Sequence[LongEpisode]) -> list[Section]:
        """All sections with their prompts; the stretches of one scenario have the same lengths in all episodes."""
        first = episodes[0]
        begins = [self._first_frame(border) / FPS for border in first.borders]
        prompts = [
            Prompt(
                start=begins[number],
                text=stretch.kind,
                conditioning=self._texts([episode.stretches[number].prompt for episode in episodes]),
                change=1.0 if number else 0.0,
            )
            for number, stretch in enumerate(first.stretches)
        ]
        return assign_prompts(plan_sections("f1", first.sections, self.settings.window), prompts)

    def _first_frame(self, section: int) -> int:
        """The first frame of a section; that of the first one is the start image's."""
        return 1 + section * self.settings.section_frames if section else 0
