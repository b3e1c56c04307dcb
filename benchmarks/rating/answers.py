"""The file of answers that the rating page saves, read and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...nodes.files.reading import DAMAGED, read_json_file, said, shortened

SCHEMA = "framepack-transitions/ratings/1"
OLD, HALF, NEW, BROKEN = SEEN = ("old", "half", "new", "broken")
SIDES = ("left", "same", "right")


@dataclass(frozen=True)
class SingleAnswer:
    """What a person has said of one video; None where the question was left open.

    seen: what is seen at the end, one of SEEN.
    jumped: whether the picture jumped at the switch.
    """

    seen: str | None
    jumped: bool | None


@dataclass(frozen=True)
class PairAnswer:
    """What a person has said of two videos: the path of the one, "same", or None where the question was left open."""

    followed: str | None
    looks: str | None


@dataclass(frozen=True)
class Ratings:
    """The answers of one person: by the video's path, and by the two paths of a pair."""

    rater: str
    order: int
    videos: Mapping[str, SingleAnswer]
    pairs: Mapping[frozenset[str], PairAnswer]


def read_ratings(path: Path) -> Ratings:
    """The answers in a file of the rating page; raises ValueError with a sentence for another or damaged one."""
    try:
        data = read_json_file(path)
    except OSError as error:
        raise ValueError(f"the answers {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"the answers {path.name} are no JSON in UTF-8: {said(error)}") from error
    if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
        raise ValueError(
            f'{path.name} holds no answers of the schema "{SCHEMA}"; give a file that the rating page has saved'
        )
    try:
        return _ratings(data, path.stem)
    except DAMAGED as error:
        raise ValueError(f"the answers {path.name} are damaged: {said(error)}") from error


def _ratings(data: Mapping[str, Any], name: str) -> Ratings:
    problems = list(_problems(data))
    if problems:
        raise ValueError(shortened(problems[0]))
    return Ratings(
        rater=str(data["rater"]).strip() or name,
        order=int(data["order"]),
        videos={
            entry["video"]: SingleAnswer(entry.get("seen"), entry.get("jumped")) for entry in data["videos"]
        },
        pairs={frozenset((entry["left"], entry["right"])): _pair(entry) for entry in data["pairs"]},
    )


def _pair(entry: Mapping[str, Any]) -> PairAnswer:
    def side(name: str) -> str | None:
        said_ = entry.get(name)
        return entry[said_] if said_ in ("left", "right") else said_

    return PairAnswer(side("followed"), side("looks"))


def _problems(data: Mapping[str, Any]) -> Iterator[str]:
    """What a key holds that the page does not write."""
    allowed: dict[str, tuple[Any, ...]] = {
        "seen": (None, *SEEN),
        "jumped": (None, False, True),
        "followed": (None, *SIDES),
        "looks": (None, *SIDES),
    }
    for entry in (*data["videos"], *data["pairs"]):
        for key in allowed.keys() & entry.keys():
            # 1 equals True, but it is nothing that the page writes.
            if (type(entry[key]), entry[key]) not in [(type(value), value) for value in allowed[key]]:
                yield f"{key} is {entry[key]!r}; it may be {', '.join(map(str, allowed[key][1:]))}"
