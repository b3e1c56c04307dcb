"""The episodes of TransitionBench: a start image, the scenes before and after a switch, and their prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...tiny.world import FAST, Scene, Subject, make_clip, prompt_of
from ...tiny.world.tables import COLOURS, SHAPES

SWITCHES = ("disappear", "appear", "colour", "background", "cut", "motion")
CASES = (*SWITCHES, "control", "sham")
# Two subjects: one is told to leave, or the same prompt is entered anew.
PAIR_CASES = ("leave", "pair sham")
EVERY_CASE = (*CASES, *PAIR_CASES)
CHANGES = (*SWITCHES, "leave")
# These go on for ever: a subject that moves right would have to turn back. Half of the subjects stand still.
LASTING_MOTIONS = ("still", "still", *FAST)
FIRST_SEED = 2 * 10**9  # training and its own evaluation use smaller ones


@dataclass(frozen=True, eq=False, kw_only=True)
class Episode:
    """One episode. In a control nothing is switched; in a sham the same prompt is entered anew.

    case: one of EVERY_CASE.
    seed: its number within the case.
    noise_seed: the seed of the sampler's noise.
    image: the start image, uint8 [64,64,3].
    image_after: a picture of the scene after the switch, uint8 [64,64,3].
    before, after: the scenes before and after the switch.
    prompts: the prompts before and after the switch.
    """

    case: str
    seed: int
    noise_seed: int
    image: NDArray[np.uint8]
    image_after: NDArray[np.uint8]
    before: Scene
    after: Scene
    prompts: tuple[str, str]

    @property
    def switches(self) -> bool:
        """Whether the timeline has a second entry."""
        return self.case != "control"

    @property
    def changes(self) -> bool:
        """Whether that entry asks for another scene."""
        return self.case in CHANGES

    @property
    def pair(self) -> bool:
        """Whether the episode begins with two subjects."""
        return len(self.before.shown) > 1

    @property
    def staying(self) -> Subject | None:
        """The subject, the first of those, that is to be there before and after the switch."""
        after = [subject for subject, _ in self.after.shown]
        return next((subject for subject, _ in self.before.shown if subject in after), None)

    @property
    def leaving(self) -> Subject | None:
        """The subject that is to be there before the switch and not after it."""
        after = [subject for subject, _ in self.after.shown]
        return next((subject for subject, _ in self.before.shown if subject not in after), None)

    @property
    def concept(self) -> str:
        """What a technique is told to look for: the subject that leaves, or else the one that stays."""
        subject = self.leaving or self.staying
        return "nothing" if subject is None else f"a {subject.colour} {subject.shape}"

    @property
    def absent(self) -> str:
        """The same of a subject that is not there: of a colour and a shape that no subject has before the switch."""
        shown = [subject for subject, _ in self.before.shown]
        colours = [colour for colour in COLOURS if all(colour != subject.colour for subject in shown)]
        shapes = [shape for shape in SHAPES if all(shape != subject.shape for subject in shown)]
        return f"a {colours[self.seed % len(colours)]} {shapes[self.seed % len(shapes)]}"

    @property
    def asks_for_motion(self) -> bool:
        """Whether how the subject moves belongs to what is asked for."""
        return self.case == "motion"

    @property
    def keeps_subject(self) -> bool:
        """Whether a subject is meant to go on over the switch, from where it is."""
        return self.case not in ("disappear", "appear", "cut")


def make_episode(case: str, seed: int) -> Episode:
    """The episode of a case with this number, always the same; raises ValueError for an unknown case."""
    if case not in EVERY_CASE:
        raise ValueError(f"TransitionBench has no case {case!r}; take one of {', '.join(EVERY_CASE)}.")
    rng = np.random.default_rng([FIRST_SEED, EVERY_CASE.index(case), seed])
    clip_seed = FIRST_SEED + int(rng.integers(10**9))
    motion = _choose(rng, LASTING_MOTIONS)
    # Two frames are enough to learn the first picture and both scenes.
    clip = make_clip(clip_seed, 2, _event(case, seed), 1, pair=case in PAIR_CASES, motion=motion, empty=False)
    before, after = clip.scenes[0][1], clip.scenes[-1][1]
    if case == "motion":
        after = replace(after, motion=_choose(rng, [fast for fast in FAST if fast != motion]))
    elif after.subject is not None and case not in PAIR_CASES:
        after = replace(after, motion=_choose(rng, LASTING_MOTIONS) if case == "cut" else motion)
    noise_seed = FIRST_SEED + EVERY_CASE.index(case) * 10**6 + seed
    prompts = _prompts(case, before, after, rng)
    return Episode(
        case=case,
        seed=seed,
        noise_seed=noise_seed,
        image=clip.frames[0],
        image_after=clip.frames[-1],
        before=before,
        after=after,
        prompts=prompts,
    )


def reversed_episode(episode: Episode) -> Episode:
    """The episode with its scenes the other way round."""
    return replace(
        episode,
        image=episode.image_after,
        image_after=episode.image,
        before=episode.after,
        after=episode.before,
        prompts=episode.prompts[::-1],
    )


def as_generated(episode: Episode, forward: bool) -> Episode:
    """The episode in the order of generation: backward its scenes come the other way round; the start image stays."""
    if forward:
        return episode
    return replace(episode, before=episode.after, after=episode.before, prompts=episode.prompts[::-1])


def episode_under(episode: Episode, history: str, prompt: str) -> Episode:
    """The episode when the past shows one of its scenes and the prompt asks for one: "old" or "new".

    A past of "zero" shows what the prompt does not ask for; that of an exemplar stands in for the old one.
    """
    if history not in ("old", "new", "zero"):
        history = "old"
    scenes = {"old": episode.before, "new": episode.after}
    shown = history if history != "zero" else {"old": "new", "new": "old"}[prompt]
    before, after = scenes[shown], scenes[prompt]
    return replace(episode, case="sham" if shown == prompt else episode.case, before=before, after=after)


def _event(case: str, seed: int) -> str:
    """The world's event: a background changes by place and by time of day in turn."""
    if case == "leave":
        return "disappear"
    if case not in SWITCHES:
        return "none"
    return "night" if case == "background" and seed % 2 else case


def _prompts(case: str, before: Scene, after: Scene, rng: np.random.Generator) -> tuple[str, str]:
    old = prompt_of(before, rng)
    return old, old if before == after else prompt_of(after, rng)


def _choose(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    return options[rng.integers(len(options))]
