"""What a person is shown: single videos and pairs, in an order drawn from a seed, without names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SCHEMA = "framepack-transitions/rating-page/1"


@dataclass(frozen=True, kw_only=True)
class RatedVideo:
    """A video that is to be rated.

    path: the file, relative to the page.
    episode, seed, arm: what it shows, the seed of its noise, and how it was made.
    old, new: in words what can be seen under the first prompt, and what can be seen after the switch.
    prompts: the prompts, each with the second in which it begins.
    switch: the second in which the switch lies.
    until: the second in which the stretch ends whose outcome is judged.
    """

    path: str
    episode: str
    seed: int
    arm: str
    old: str
    new: str
    prompts: tuple[tuple[float, str], ...]
    switch: float
    until: float


def rating_plan(videos: Sequence[RatedVideo], *, suite: str, order: int) -> dict[str, Any]:
    """The plan of a page as plain data: every video once, then every pair of one episode and seed, sides drawn too.

    order: the seed of the order; another one gives another order of the same videos.
    The plan's `digest` names the videos and their order, so that answers cannot be taken for those to other ones.
    """
    rng = np.random.default_rng([order, len(videos)])
    plan = {
        "schema": SCHEMA,
        "suite": suite,
        "order": order,
        "videos": [_single(videos[number]) for number in rng.permutation(len(videos))],
        "pairs": _pairs(videos, rng),
    }
    return {**plan, "digest": hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]}


def _single(video: RatedVideo) -> dict[str, Any]:
    return {
        "video": video.path,
        "old": video.old,
        "new": video.new,
        "switch": video.switch,
        "until": video.until,
    }


def _pairs(videos: Sequence[RatedVideo], rng: np.random.Generator) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], list[RatedVideo]] = {}
    for video in videos:
        found.setdefault((video.episode, video.seed), []).append(video)
    pairs = [pair for pair in found.values() if len(pair) == 2]
    return [
        _pair([pairs[number][side] for side in rng.permutation(2)]) for number in rng.permutation(len(pairs))
    ]


def _pair(sides: Sequence[RatedVideo]) -> dict[str, Any]:
    left, right = sides
    return {
        "left": left.path,
        "right": right.path,
        "prompts": [{"seconds": seconds, "prompt": prompt} for seconds, prompt in left.prompts],
        "switch": left.switch,
    }
