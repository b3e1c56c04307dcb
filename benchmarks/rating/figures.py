"""What people have said of a suite's videos, beside what its judge says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from typing import Any

from .answers import BROKEN, NEW, OLD, SEEN, Ratings
from .kappa import counted, kappa, kappa_interval
from .shares import share_interval

ARMS = ("plain", "treated")
QUESTIONS = ("followed", "looks")


@dataclass(frozen=True, kw_only=True)
class JudgedVideo:
    """A video of a suite and the judge's verdict.

    path: the file, as the rating page names it.
    episode, seed, arm: what it shows, the seed of its noise, and how it was made.
    image: the start image; videos from the same one depend on one another.
    changes: whether another scene is asked for; otherwise the old one should stay.
    success: what the judge says, None where it says nothing.
    """

    path: str
    episode: str
    seed: int
    arm: str
    image: str
    changes: bool
    success: bool | None


Verdicts = Mapping[str, bool]


def verdicts(ratings: Ratings, videos: Sequence[JudgedVideo]) -> dict[str, bool]:
    """Which videos a person calls a success: the new scene is seen, or the old one where it should stay."""
    return {
        video.path: answer.seen == (NEW if video.changes else OLD)
        for video in videos
        if (answer := ratings.videos.get(video.path)) is not None and answer.seen is not None
    }


def majority(of: Sequence[Verdicts]) -> dict[str, bool]:
    """What more than half of the people say; a video about which they are divided in halves is left out."""
    votes: dict[str, list[bool]] = {}
    for said in of:
        for path, value in said.items():
            votes.setdefault(path, []).append(value)
    return {
        path: 2 * sum(given) > len(given) for path, given in votes.items() if 2 * sum(given) != len(given)
    }


def agreement(first: Verdicts, second: Verdicts, videos: Sequence[JudgedVideo]) -> dict[str, Any]:
    """Kappa of two judges over the videos that both have judged, its interval, and the table behind it."""
    common = [video for video in videos if video.path in first and video.path in second]
    one, other = ([said[video.path] for video in common] for said in (first, second))
    counts = counted(one, other)
    value = kappa(counts)
    only_first = sum(a and not b for a, b in zip(one, other, strict=True))
    return {
        "n": counts.total,
        "both": counts.both,
        "only_first": only_first,
        "only_second": counts.differ - only_first,
        "neither": counts.neither,
        "kappa": value if isfinite(value) else None,
        "kappa_ci": list(kappa_interval(one, other, [video.image for video in common]))
        if isfinite(value)
        else None,
    }


def figures(ratings: Sequence[Ratings], videos: Sequence[JudgedVideo]) -> dict[str, Any]:
    """All that the report says of people: who they are, how far they agree, what they saw, and what they preferred."""
    judge = {video.path: video.success for video in videos if video.success is not None}
    said = {person.rater: verdicts(person, videos) for person in ratings}
    people = majority(list(said.values()))
    return {
        "raters": [
            {
                "rater": person.rater,
                "order": person.order,
                "videos": len(person.videos),
                "pairs": len(person.pairs),
                **agreement(judge, said[person.rater], videos),
            }
            for person in ratings
        ],
        "between": [
            {"raters": [one, other], **agreement(said[one], said[other], videos)}
            for one, other in combinations(said, 2)
        ],
        "people": agreement(judge, people, videos),
        "seen": [_seen_row(ratings, videos, arm, changes) for changes in (True, False) for arm in ARMS],
        "preferences": [
            _preference(ratings, videos, question, changes)
            for changes in (True, False)
            for question in QUESTIONS
        ],
    }


def _seen_row(
    ratings: Sequence[Ratings], videos: Sequence[JudgedVideo], arm: str, changes: bool
) -> dict[str, Any]:
    """What was seen in the videos of an arm, and how often they jumped or were broken, over all answers."""
    paths = {video.path for video in videos if video.arm == arm and video.changes == changes}
    answers = [answer for person in ratings for path, answer in person.videos.items() if path in paths]
    seen = Counter(answer.seen for answer in answers if answer.seen is not None)
    jumps = [answer.jumped for answer in answers if answer.jumped is not None]
    total = seen.total()
    right = seen[NEW if changes else OLD]
    return {
        "technique": arm,
        "case": "changes" if changes else "unchanged",
        "n": total,
        **{name: seen[name] for name in SEEN},
        **_share("success", right, total),
        **_share("broken_share", seen[BROKEN], total),
        **_share("jumped", sum(jumps), len(jumps)),
    }


def _preference(
    ratings: Sequence[Ratings], videos: Sequence[JudgedVideo], question: str, changes: bool
) -> dict[str, Any]:
    """How often the treated video was chosen over the plain one of its pair."""
    arms = {video.path: video.arm for video in videos if video.changes == changes}
    chosen = Counter(_choices(ratings, arms, question))
    decided = chosen["plain"] + chosen["treated"]
    return {
        "question": question,
        "case": "changes" if changes else "unchanged",
        "n": chosen.total(),
        **{name: chosen[name] for name in ("treated", "same", "plain")},
        **_share("preferred", chosen["treated"], decided),
    }


def _choices(ratings: Sequence[Ratings], arms: Mapping[str, str], question: str) -> Iterable[str]:
    for person in ratings:
        for paths, answer in person.pairs.items():
            choice = getattr(answer, question)
            if choice is not None and paths <= arms.keys():
                yield arms.get(choice, "same")


def _share(name: str, count: int, total: int) -> dict[str, Any]:
    """A share and its interval, None without answers."""
    return {
        name: count / total if total else None,
        f"{name}_ci": list(share_interval(count, total)) if total else None,
    }
