"""A library of clips of the embedded world that is searched by captions: what may stand in for an episode's own memory.

MotionRAG (arXiv 2509.26391) finds clips by their captions, too; what it then predicts from them is trained. Here a clip that was
found enters by ways that the model knows as it is: as history, or as start frame and image tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....nodes.evaluation.models import tiny_extractor
from ....tiny.bundle import TinyBundle
from ....tiny.world import Scene, Subject, make_clip, prompt_of
from ..episodes import FIRST_SEED, Episode

CLIPS = 240
FIRST_CLIP = FIRST_SEED + 10**9  # beyond the seeds of training and of episodes

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """A clip of a library: its number, the scene that it shows, and its caption."""

    number: int
    scene: Scene
    caption: str

    def frames(self, count: int) -> NDArray[np.uint8]:
        """Its first frames, uint8 [count,64,64,3]."""
        return make_clip(FIRST_CLIP + self.number, count).frames


@dataclass(frozen=True, eq=False)
class Library:
    """Clips with the features [N,D] of their captions, each of length 1."""

    clips: Sequence[Exemplar]
    features: Array

    @classmethod
    def of(cls, clips: Sequence[Exemplar]) -> Library:
        """The library of these clips, read by the embedded world's own CLIP."""
        return cls(clips, read([clip.caption for clip in clips]))

    def find(self, prompt: str, other_than: Subject | None) -> Exemplar:
        """The clip whose caption is most alike to a prompt, among those with another subject, or with none.

        A library of one's own footage does not hold the very scene that is asked for.
        """
        likeness = self.features @ read([prompt])[0]
        allowed = [_differs(clip.scene.subject, other_than) for clip in self.clips]
        return self.clips[int(np.where(allowed, likeness, -np.inf).argmax())]


def read(texts: Sequence[str]) -> Array:
    """Features [N,D] of texts, each of length 1."""
    features = np.asarray(tiny_extractor().texts(list(texts)), np.float64)
    found: Array = features / np.linalg.norm(features, axis=1, keepdims=True)
    return found


@cache
def usual_library() -> Library:
    """The library of the study: scenes that neither training nor any episode is made of."""
    return Library.of([_exemplar(number) for number in range(CLIPS)])


class Exemplars:
    """What a library has for episodes, as the model of a bundle takes it."""

    def __init__(self, bundle: TinyBundle) -> None:
        self.bundle = bundle

    @cached_property
    def library(self) -> Library:
        """The library that is searched."""
        return usual_library()

    def pictures(self, episodes: Sequence[Episode]) -> list[NDArray[np.uint8]]:
        """The first picture of the clip that is found for each episode, uint8 [64,64,3]."""
        return [self._found(episode).frames(1)[0] for episode in episodes]

    def latents(self, episodes: Sequence[Episode], count: int) -> Tensor:
        """The last `count` latent frames of the clip that is found for each episode, [B,16,count,8,8], as the VAE gives them."""
        videos = np.stack([self._found(episode).frames(1 + 4 * count) for episode in episodes])
        encoded: Tensor = self.bundle.vae.encode(torch.from_numpy(videos).float() / 255)
        return encoded[:, :, 1:]

    def _found(self, episode: Episode) -> Exemplar:
        return self.library.find(episode.prompts[1], episode.after.subject)


def _exemplar(number: int) -> Exemplar:
    scene = make_clip(FIRST_CLIP + number, 1).scenes[0][1]
    return Exemplar(
        number=number, scene=scene, caption=prompt_of(scene, np.random.default_rng([FIRST_CLIP, number]))
    )


def _differs(one: Subject | None, other: Subject | None) -> bool:
    return one is None or other is None or (one.shape, one.colour) != (other.shape, other.colour)
