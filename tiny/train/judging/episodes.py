"""Clips with one event, by which a model is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ... import world

FIRST_SEED = 10**9  # training uses smaller ones
EVENTS = ("disappear", "appear", "colour", "background", "night", "cut")
# These begin with a subject by themselves.
NEEDS_SUBJECT = ("none", "background", "night", "cut")

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, eq=False, kw_only=True)
class Episode:
    """A clip with its event at the beginning of its second section, as far as the model is shown it.

    `first` uint8 [H,W,3] is its first frame, `after` [T,H,W,3] what follows the event (or the start); `prompts` has one for each
    section, and `old` and `new` are the scenes before and after the event.
    """

    seed: int
    event: str
    first: Pictures
    after: Pictures
    prompts: tuple[str, ...]
    old: world.Scene
    new: world.Scene

    @property
    def leaving(self) -> world.Subject | None:
        """The subject that is there before the event and not after it."""
        return next((subject for subject, _ in self.old.shown if subject not in self._after), None)

    @property
    def _after(self) -> list[world.Subject]:
        return [subject for subject, _ in self.new.shown]


def make_episode(
    event: str, seed: int, *, window: int, sections: int = 3, pair: bool = False, scale: int = 1
) -> Episode:
    """An episode that training has not seen, with a subject at its beginning unless the only one is to appear."""
    switch = None if event == "none" else 1 + 4 * window
    fixed = {"empty": False} if event in NEEDS_SUBJECT else {}
    clip = world.make_clip(seed, 1 + 4 * window * sections, event, switch, pair=pair, scale=scale, **fixed)
    return Episode(
        seed=seed,
        event=event,
        first=clip.frames[0],
        after=clip.frames[switch or 0 :],
        prompts=tuple(world.prompt_of(clip.scene_at(1 + 4 * window * s)) for s in range(sections)),
        old=clip.scenes[0][1],
        new=clip.scenes[-1][1],
    )


def episodes_of(
    event: str | Sequence[str], first: int, count: int, *, window: int, pair: bool = False, scale: int = 1
) -> list[Episode]:
    """Episodes number `first` and the following ones, of one event or of several in turn."""
    events = (event,) if isinstance(event, str) else tuple(event)
    return [
        make_episode(
            events[number % len(events)],
            FIRST_SEED + number // len(events),
            window=window,
            pair=pair,
            scale=scale,
        )
        for number in range(first, first + count)
    ]


def starts(part: Sequence[Episode]) -> Pictures:
    """Start images uint8 [B,H,W,3]."""
    return np.stack([episode.first for episode in part])
