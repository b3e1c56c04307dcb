"""The episodes of the study of long videos: stretches of half a minute to a minute, each with its scene and its prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from ...tiny.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene, Subject, make_clip, prompt_of
from ...tiny.world.tables import SIZE_WORDS
from ..transition.episodes import LASTING_MOTIONS

FIRST_SEED = 4 * 10**9  # training and TransitionBench's episodes use smaller ones
START = "start"
RETURN, BACK = "return", "back"

# What each stretch asks for, and how many sections it has. A section of the usual window is 1.2 s.
SCENARIOS: dict[str, tuple[tuple[str, int], ...]] = {
    "story": (
        (START, 4),
        ("disappear", 4),
        (RETURN, 4),
        ("colour", 4),
        ("background", 4),
        ("night", 4),
        ("cut", 4),
        (BACK, 4),
    ),
    "places": ((START, 8), ("background", 8), ("night", 8), ("cut", 8), (BACK, 8)),
    "quiet": ((START, 50),),
}


@dataclass(frozen=True)
class Stretch:
    """A part of a video under one prompt.

    kind: what it asks for: START, a change of the scene, RETURN of a subject that had left, or BACK to the first scene.
    scene: what should be seen.
    prompt: the words that ask for it. Where something comes back they do not say how large it was.
    sections: how long it is.
    """

    kind: str
    scene: Scene
    prompt: str
    sections: int


@dataclass(frozen=True, eq=False, kw_only=True)
class LongEpisode:
    """A long video to be made.

    scenario, seed: one of SCENARIOS, and the episode's number within it.
    noise_seed: the seed of the sampler's noise.
    image: the start image, uint8 [64,64,3].
    stretches: its parts, in their order.
    """

    scenario: str
    seed: int
    noise_seed: int
    image: NDArray[np.uint8]
    stretches: tuple[Stretch, ...]

    @property
    def borders(self) -> tuple[int, ...]:
        """The section with which each stretch begins, and after the last one the number of all sections."""
        return (0, *accumulate(stretch.sections for stretch in self.stretches))

    @property
    def sections(self) -> int:
        """Sections of the whole video."""
        return self.borders[-1]


def make_long_episode(
    scenario: str, seed: int, shape: Sequence[tuple[str, int]] | None = None
) -> LongEpisode:
    """The episode of a scenario with this number, always the same; raises ValueError for an unknown scenario.

    shape: stretches instead of the scenario's own, such as shorter ones.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"There is no scenario {scenario!r}; take one of {', '.join(SCENARIOS)}.")
    place = list(SCENARIOS).index(scenario)
    rng = np.random.default_rng([FIRST_SEED, place, seed])
    motion = LASTING_MOTIONS[rng.integers(len(LASTING_MOTIONS))]
    clip = make_clip(FIRST_SEED + int(rng.integers(10**9)), 1, motion=motion, empty=False)
    return LongEpisode(
        scenario=scenario,
        seed=seed,
        noise_seed=FIRST_SEED + place * 10**6 + seed,
        image=clip.frames[0],
        stretches=tuple(_stretches(clip.scenes[0][1], shape or SCENARIOS[scenario], rng)),
    )


def _stretches(first: Scene, shape: Sequence[tuple[str, int]], rng: np.random.Generator) -> list[Stretch]:
    scenes, made = [first], []
    for kind, sections in shape:
        scene = first if kind in (START, BACK) else _changed(scenes, kind, rng)
        scenes.append(scene)
        made.append(Stretch(kind, scene, _prompt(scene, kind, rng), sections))
    return made


def _changed(scenes: Sequence[Scene], kind: str, rng: np.random.Generator) -> Scene:
    """The scene after a change of the latest one."""
    scene = scenes[-1]
    if kind == "disappear":
        return replace(scene, subject=None)
    if kind == RETURN:
        return replace(scene, subject=next(one.subject for one in reversed(scenes) if one.subject))
    if kind == "night":
        return replace(scene, night=not scene.night)
    if kind == "background":
        return replace(scene, background=other_than(BACKGROUNDS, scene.background, rng))
    subject = scene.subject or Subject(*(next(iter(table)) for table in (SHAPES, COLOURS, SIZES)))
    subject = replace(subject, colour=other_than(COLOURS, subject.colour, rng))
    if kind == "colour":
        return replace(scene, subject=subject)
    subject = replace(subject, shape=other_than(SHAPES, subject.shape, rng))
    return replace(scene, background=other_than(BACKGROUNDS, scene.background, rng), subject=subject)


def other_than(options: Iterable[str], now: str, rng: np.random.Generator) -> str:
    """One of the options that is not the present one."""
    left = [option for option in options if option != now]
    return left[rng.integers(len(left))]


def _prompt(scene: Scene, kind: str, rng: np.random.Generator) -> str:
    """Words for a scene; where something comes back, words that do not give away its size."""
    telling = (
        set() if kind not in (RETURN, BACK) else {word for words in SIZE_WORDS.values() for word in words}
    )
    while telling & set((said := prompt_of(scene, rng)).split()):
        pass
    return said
