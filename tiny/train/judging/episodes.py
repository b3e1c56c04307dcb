"""Clips with one event, by which a model is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ... import world

FIRST_SEED = 10**9  # training uses smaller ones
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A clip with its event at the beginning of its second section, as far as the model is shown it.

    `first` uint8 [64,64,3] is its first frame, `after` [T,64,64,3] what follows the event (or the start).
    """

    seed: int
    event: str
    first: np.ndarray
    after: np.ndarray
    prompts: tuple[str, ...]
    old: world.Scene
    new: world.Scene


def episodes(
    event: str, count: int, *, window: int, first_seed: int = FIRST_SEED, sections: int = 3
) -> list[Episode]:
    """Fresh episodes with a subject at their beginning, unless one is to appear."""
    found, frames = [], 1 + 4 * window * sections
    for seed in range(first_seed, first_seed + count):
        switch = None if event == "none" else 1 + 4 * window
        fixed = {"empty": False} if event in ("none", "background", "night", "cut") else {}
        clip = world.make_clip(seed, frames, event, switch, **fixed)
        shown = clip.frames[switch or 0 :]
        prompts = tuple(world.prompt_of(clip.scene_at(1 + 4 * window * s)) for s in range(sections))
        old, new = clip.scenes[0][1], clip.scenes[-1][1]
        found.append(
            Episode(
                seed=seed, event=event, first=clip.frames[0], after=shown, prompts=prompts, old=old, new=new
            )
        )
    return found


def parts(chosen: Sequence[Episode]) -> list[Sequence[Episode]]:
    """Episodes by batches."""
    return [chosen[first : first + BATCH] for first in range(0, len(chosen), BATCH)]


def starts(part: Sequence[Episode]) -> np.ndarray:
    """Start images uint8 [B,64,64,3]."""
    return np.stack([episode.first for episode in part])
