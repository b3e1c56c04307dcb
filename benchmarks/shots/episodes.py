"""The episodes of the study of shots: a scene, another one elsewhere, and a prompt that does not say all of what it means."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...tiny.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene, Subject, make_clip, prompt_of
from ...tiny.world.tables import ACTIONS, PLACES, TIMES
from ..long.scenarios import other_than
from ..transition.episodes import LASTING_MOTIONS

FIRST_SEED = 5 * 10**9  # training and the other studies use smaller ones
# What the last prompt calls its subject. In the first three it is a new shot elsewhere; in the last it returns to the first scene.
IT, SHAPE, ANOTHER, RETURN = "it", "its shape", "another subject", "return, its shape"
CASES = (IT, SHAPE, ANOTHER, RETURN)
# Sections under each prompt.
LENGTHS = {IT: (2, 3), SHAPE: (2, 3), ANOTHER: (2, 3), RETURN: (2, 2, 1)}


@dataclass(frozen=True, eq=False, kw_only=True)
class ShotEpisode:
    """One episode.

    case: one of CASES.
    seed: its number, the same scenes in all cases but for how the first subject moves: where the scene is to return it stands still.
    noise_seed: the seed of the sampler's noise.
    image: the start image, uint8 [64,64,3].
    first: its scene.
    other: one at another place and the same time of day, whose subject has another shape, colour and size.
    """

    case: str
    seed: int
    noise_seed: int
    image: NDArray[np.uint8]
    first: Scene
    other: Scene

    @property
    def returns(self) -> bool:
        """Whether the last prompt returns to the first scene."""
        return self.case == RETURN

    @property
    def moves(self) -> bool:
        """Whether the first subject moves."""
        return self.first.motion != "still"

    @property
    def asked(self) -> Scene:
        """What the last prompt means, with what it leaves out."""
        if self.case == ANOTHER:
            return self.other
        if self.returns:
            return self.first
        return replace(self.other, subject=self.first.subject)

    @property
    def left(self) -> Scene:
        """The scene that the last prompt leaves."""
        return self.other if self.returns else self.first

    @property
    def subject(self) -> Subject:
        """The subject of the first scene."""
        return self.first.shown[0][0]

    @property
    def other_subject(self) -> Subject:
        """The subject of the other scene."""
        return self.other.shown[0][0]

    @property
    def words(self) -> str:
        """What names the subject of the first scene, all of it."""
        return _named(self.subject)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts in their order."""
        before = [prompt_of(self.first)] + [prompt_of(self.other)] * self.returns
        subjects = {IT: "it", ANOTHER: _named(self.other_subject)}
        said = subjects.get(self.case, f"a {self.subject.shape}")
        asked = self.asked
        return (
            *before,
            f"{said} {ACTIONS['still'][0]} {PLACES[asked.background][0]} {TIMES[asked.night][0]}",
        )


def make_shot_episode(case: str, seed: int) -> ShotEpisode:
    """The episode of a case with this number, always the same; raises ValueError for an unknown case."""
    if case not in CASES:
        raise ValueError(f"The study of shots has no case {case!r}; take one of {', '.join(CASES)}.")
    rng = np.random.default_rng([FIRST_SEED, seed])
    moving = LASTING_MOTIONS[rng.integers(len(LASTING_MOTIONS))]
    motion = "still" if case == RETURN else moving
    clip = make_clip(FIRST_SEED + int(rng.integers(10**9)), 1, motion=motion, empty=False)
    first = clip.scenes[0][1]
    ((subject, _),) = first.shown
    other = Subject(
        other_than(SHAPES, subject.shape, rng),
        other_than(COLOURS, subject.colour, rng),
        other_than(SIZES, subject.size, rng),
    )
    place = other_than(BACKGROUNDS, first.background, rng)
    return ShotEpisode(
        case=case,
        seed=seed,
        noise_seed=FIRST_SEED + seed,
        image=clip.frames[0],
        first=first,
        other=Scene(place, first.night, other),
    )


def _named(subject: Subject) -> str:
    return f"a {subject.size} {subject.colour} {subject.shape}"
