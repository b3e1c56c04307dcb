"""The episodes of a suite of long videos: stretches of one video, each with its prompt and what can be seen under it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from ....metrics.scoring.distractors import suggested_distractors
from ....samplers.timeline.syntaxes.brackets import format_spans
from ....samplers.timeline.syntaxes.spans import PromptSpan
from ...long.scenarios import BACK, RETURN, START
from ...transition.episodes import SWITCHES
from ..files import (
    Suite,
    built_suite,
    distractor_problems,
    image_problems,
    is_text,
    key_problems,
    read_suite_file,
    suite_problems,
)

SCHEMA = "framepack-transitions/long-suite/1"
KINDS = (*SWITCHES, "night", RETURN, BACK)  # of what follows START
KEYS = {"schema", "name", "workflow", "features", "episodes"}
LEAST_SECONDS = 1.0  # of a stretch
DISAPPEAR = "disappear"
PRECISION = 6  # decimals of a time in seconds


@dataclass(frozen=True, kw_only=True)
class SuiteStretch:
    """A part of a long video under one prompt.

    kind: what it asks for: START, or one of KINDS.
    prompt, state: the prompt, and in words what can be seen when the video follows it.
    seconds: its length.
    distractors: texts of what else may be seen in it; None takes those that follow from its state and the one before.
    """

    kind: str
    prompt: str
    state: str
    seconds: float
    distractors: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class LongSuiteEpisode:
    """One episode of a suite of long videos.

    id: its name, also in the names of files.
    scenario: a name for episodes whose stretches have the same kinds and lengths, and which are told of together.
    image: path of the start image below the suite's folder.
    subject: what disappears and returns, in the words of a detector, or empty.
    stretches: the parts of the video, in their order.
    """

    id: str
    scenario: str
    image: str
    subject: str
    stretches: tuple[SuiteStretch, ...]

    @property
    def starts(self) -> tuple[float, ...]:
        """The second with which each stretch begins, and after the last one the length of the video."""
        ends = accumulate((stretch.seconds for stretch in self.stretches), initial=0.0)
        return tuple(round(end, PRECISION) for end in ends)

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return self.starts[-1]

    def timeline(self) -> str:
        """The prompts as FramePack Prompt Timeline reads them in brackets."""
        return format_spans(
            [
                PromptSpan(start=start, text=stretch.prompt, state=stretch.state)
                for start, stretch in zip(self.starts, self.stretches)
            ]
        )

    def distractors(self, number: int) -> tuple[str, ...]:
        """What may be seen in a stretch, by its number, besides the states of the stretches: each text once."""
        stretch, before = self.stretches[number], self.stretches[max(number - 1, 0)]
        texts = stretch.distractors
        if texts is None:
            texts = suggested_distractors(before.state, stretch.state)
        states = {other.state for other in self.stretches}
        return tuple(text for text in dict.fromkeys(texts) if text not in states)

    def first_with_its_state(self, number: int) -> int:
        """The first stretch that asks for the same state as this one."""
        return next(
            place for place, other in enumerate(self.stretches) if other.state == self.stretches[number].state
        )


def read_long_suite(given: str) -> Suite[LongSuiteEpisode]:
    """The suite of this name (one of SHIPPED) or in this file; raises ValueError in one sentence for each finding.

    The format is described in docs/BENCHMARKS.md.
    """
    return built_suite(*read_suite_file(given), _problems, _episode)


def is_long_suite(given: str) -> bool:
    """Whether the suite of this name or in this file says that it is one of long videos; raises ValueError without JSON."""
    _, data = read_suite_file(given)
    return isinstance(data, Mapping) and data.get("schema") == SCHEMA


def _episode(entry: Mapping[str, Any], suite: Mapping[str, Any]) -> LongSuiteEpisode:
    return LongSuiteEpisode(
        id=entry["id"],
        scenario=entry["scenario"],
        image=entry["image"],
        subject=entry.get("subject", ""),
        stretches=tuple(_stretch(part) for part in entry["stretches"]),
    )


def _stretch(part: Mapping[str, Any]) -> SuiteStretch:
    others = tuple(part["distractors"]) if "distractors" in part else None
    return SuiteStretch(**{**part, "seconds": float(part["seconds"]), "distractors": others})


def _problems(data: Any, folder: Path) -> Iterator[str]:
    found = list(suite_problems(data, folder, schema=SCHEMA, keys=KEYS, episode_problems=_episode_problems))
    yield from found
    if not found:
        yield from _scenario_problems(data["episodes"])


def _scenario_problems(episodes: list[Mapping[str, Any]]) -> Iterator[str]:
    """Episodes of one scenario that differ in the kinds or lengths of their stretches."""
    shapes: dict[str, Any] = {}
    for entry in episodes:
        shape = [(part["kind"], float(part["seconds"])) for part in entry["stretches"]]
        if shapes.setdefault(entry["scenario"], shape) != shape:
            yield (
                f"episode {entry['id']}: its stretches have other kinds or lengths than those of another episode of the "
                f"scenario {entry['scenario']}; give it a scenario of its own"
            )


def _episode_problems(entry: Mapping[str, Any], suite: Mapping[str, Any], folder: Path) -> Iterator[str]:
    needed = {"id", "scenario", "image", "stretches"}
    yield from key_problems(entry, needed, needed | {"subject"})
    yield from (
        f"{name} is no text" for name in ("scenario", "subject") if name in entry and not is_text(entry, name)
    )
    yield from image_problems(entry.get("image"), folder)
    stretches = entry.get("stretches")
    if not isinstance(stretches, list) or not stretches or not all(isinstance(s, Mapping) for s in stretches):
        yield "stretches is no list of at least one stretch"
        return
    found = [
        f"stretch {number}: {problem}"
        for number, part in enumerate(stretches, 1)
        for problem in _stretch_problems(part, number == 1)
    ]
    yield from found or _order_problems(entry, stretches)


def _stretch_problems(part: Mapping[str, Any], is_first: bool) -> Iterator[str]:
    needed = {"kind", "prompt", "state", "seconds"}
    yield from key_problems(part, needed, needed | {"distractors"})
    yield from (
        f"{name} is no text" for name in ("prompt", "state") if name in part and not is_text(part, name)
    )
    yield from distractor_problems(part)
    kinds = (START,) if is_first else KINDS
    if part.get("kind") not in kinds:
        yield f"kind is {part.get('kind')!r}; give {'one of ' * (len(kinds) > 1)}{', '.join(kinds)}"
    seconds = part.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        yield "seconds is no number"
    elif not LEAST_SECONDS <= seconds < float("inf"):
        yield f"seconds is {seconds:g}; give at least {LEAST_SECONDS:g}"


def _order_problems(entry: Mapping[str, Any], stretches: list[Mapping[str, Any]]) -> Iterator[str]:
    for number, (before, after) in enumerate(pairwise(stretches), 2):
        for name in ("prompt", "state"):
            if before[name] == after[name]:
                yield f"stretch {number}: its {name} is that of the stretch before, so nothing would change"
    kinds = [part["kind"] for part in stretches]
    if DISAPPEAR in kinds and "subject" not in entry:
        yield "subject is missing: say what disappears"
    if RETURN in kinds and DISAPPEAR not in kinds[: kinds.index(RETURN)]:
        yield f"a stretch of the kind {RETURN} needs one of the kind {DISAPPEAR} before it"
