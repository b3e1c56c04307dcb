"""What people have said of a suite's videos, beside what its judge says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from typing import Any

from ..statistics import counted, grouped_share_interval, kappa, kappa_interval
from .answers import BROKEN, NEW, OLD, SEEN, PairAnswer, Ratings

ARMS = ("plain", "treated")
QUESTIONS: dict[str, Callable[[PairAnswer], str | None]] = {
    "followed": lambda answer: answer.followed,
    "looks": lambda answer: answer.looks,
}


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
    images = {video.path: video.image for video in videos if video.arm == arm and video.changes == changes}
    answers = [
        (images[path], answer)
        for person in ratings
        for path, answer in person.videos.items()
        if path in images
    ]
    seen = [(image, answer.seen) for image, answer in answers if answer.seen is not None]
    right = NEW if changes else OLD
    return {
        "technique": arm,
        "case": "changes" if changes else "unchanged",
        "n": len(seen),
        **{name: sum(what == name for _, what in seen) for name in SEEN},
        **_share("success", [(image, what == right) for image, what in seen]),
        **_share("broken_share", [(image, what == BROKEN) for image, what in seen]),
        **_share(
            "jumped", [(image, answer.jumped) for image, answer in answers if answer.jumped is not None]
        ),
    }


def _preference(
    ratings: Sequence[Ratings], videos: Sequence[JudgedVideo], question: str, changes: bool
) -> dict[str, Any]:
    """How often the treated video was chosen over the plain one of its pair."""
    known = {video.path: video for video in videos if video.changes == changes}
    chosen = list(_choices(ratings, known, question))
    return {
        "question": question,
        "case": "changes" if changes else "unchanged",
        "n": len(chosen),
        **{name: sum(what == name for _, what in chosen) for name in ("treated", "same", "plain")},
        **_share("preferred", [(image, what == "treated") for image, what in chosen if what != "same"]),
    }


def _choices(
    ratings: Sequence[Ratings], videos: Mapping[str, JudgedVideo], question: str
) -> Iterable[tuple[str, str]]:
    """For every answered pair its start image, and the arm that was chosen or "same"."""
    for person in ratings:
        for paths, answer in person.pairs.items():
            choice = QUESTIONS[question](answer)
            if choice is not None and paths <= videos.keys():
                image = next(videos[path].image for path in paths)
                yield image, videos[choice].arm if choice in videos else "same"


def _share(name: str, answers: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    """The share of yes among answers with their start images, and its interval; None without answers."""
    if not answers:
        return {name: None, f"{name}_ci": None}
    groups: dict[str, list[bool]] = {}
    for image, yes in answers:
        groups.setdefault(image, []).append(yes)
    share = sum(yes for _, yes in answers) / len(answers)
    return {name: share, f"{name}_ci": list(grouped_share_interval(list(groups.values())))}
