"""Samples the episodes of the study of shots with the embedded model, from the start image to the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from numpy.typing import NDArray

from ...samplers.conditioning import Prompt
from ...samplers.context.plan import FPS, Section, plan_sections
from ...samplers.settings import SampleInputs
from ...samplers.techniques.presets import PRESETS
from ...samplers.timeline.assignment import assign_prompts
from ..transition.arms import PLAIN, Arm
from ..transition.running.decoding import decoded_videos
from ..transition.running.sampling import EpisodeSampler, images_of
from .episodes import ANOTHER, IT, LENGTHS, RETURN, SHAPE, ShotEpisode


@dataclass(frozen=True, kw_only=True)
class ShotArm:
    """How the last prompt of an episode takes over.

    name: what the table calls it.
    cut: whether it begins a new shot, which remembers nothing.
    keep: whether that shot keeps the first scene's subject.
    recall: whether it goes on from what the first scene had left.
    image: whether it begins with the start image, given anew.
    """

    name: str
    cut: bool = True
    keep: bool = False
    recall: bool = False
    image: bool = False


KEEPING = (ShotArm(name="a cut"), ShotArm(name="keep", keep=True))
RETURNING = (
    ShotArm(name="plain", cut=False),
    ShotArm(name="recall", recall=True),
    ShotArm(name="a cut to the start image", image=True),
)
ARMS = {IT: KEEPING, SHAPE: KEEPING, ANOTHER: KEEPING, RETURN: RETURNING}
# What brings the scene between for certain. It acts at that switch alone: the last prompt says that nothing changes.
BETWEEN = Arm("preset cut", PRESETS["cut"])


@dataclass(frozen=True, eq=False)
class SampledShots:
    """Videos of a batch of episodes.

    frames: float [T,64,64,3] in 0..1 of one video after another, decoded as they are asked for; the first frame is the start
        image's.
    evaluations: calls of the model for the sections of the last prompt, of each video.
    """

    frames: Iterator[NDArray[Any]]
    evaluations: int


class ShotSampler(EpisodeSampler):
    """Samples batches of episodes of one case."""

    @torch.inference_mode()
    def sample_shots(self, episodes: Sequence[ShotEpisode], arm: ShotArm) -> SampledShots:
        """The videos of episodes whose last prompt takes over as an arm says."""
        case, images = episodes[0].case, images_of([episode.image for episode in episodes])
        driver = self._driver(BETWEEN if case == RETURN else PLAIN, images)
        inputs = self._inputs(driver, images)
        planned = plan_sections(self.settings.layout, sum(LENGTHS[case]), self.settings.window)
        sections: list[Section] = assign_prompts(planned, self._shot_prompts(episodes, arm, inputs))
        sampling = self._sampling([episode.noise_seed for episode in episodes])
        latents, trace = self._sample(driver, sections, inputs, sampling)
        scaled, last = driver.to_vae(latents), trace["sections"][-LENGTHS[case][-1] :]
        return SampledShots(
            decoded_videos(self.bundle.vae, scaled),
            sum(section["evaluations"] for section in last),
        )

    def _shot_prompts(
        self, episodes: Sequence[ShotEpisode], arm: ShotArm, inputs: SampleInputs
    ) -> list[Prompt]:
        borders = list(accumulate(LENGTHS[episodes[0].case], initial=0))[:-1]
        begins = [(1 + border * self.settings.section_frames) / FPS if border else 0.0 for border in borders]
        texts = zip(*(episode.prompts for episode in episodes), strict=True)
        prompts = [
            Prompt(start=start, text=said[0], conditioning=self._texts(said), change=float(0 < number))
            for number, (start, said) in enumerate(zip(begins, texts, strict=True))
        ]
        return [
            *prompts[:-1],
            replace(
                prompts[-1],
                change=0.0,
                cut=arm.cut,
                recall=arm.recall,
                keep=self._texts([episode.words for episode in episodes]) if arm.keep else None,
                start_latent=inputs.start if arm.image else None,
                image_embeds=inputs.image_embeds if arm.image else None,
            ),
        ]
