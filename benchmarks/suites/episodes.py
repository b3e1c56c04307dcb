"""Suites of TransitionBench: episodes as prompts and start images, for any model that a workflow runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...samplers.timeline.syntaxes.brackets import format_spans
from ...samplers.timeline.syntaxes.spans import PromptSpan
from ..transition.episodes import SWITCHES
from .files import (
    Suite,
    built_suite,
    distractor_problems,
    image_problems,
    is_text,
    key_problems,
    read_suite_file,
    suite_problems,
)

SCHEMA = "framepack-transitions/suite/1"
CASES = (*SWITCHES, "control", "sham")
LEAST_SECONDS = 0.5  # that must follow a switch to be scored
KEYS = {"schema", "name", "workflow", "features", "seconds", "switch", "episodes"}


@dataclass(frozen=True)
class PromptedState:
    """A prompt, and in words what can be seen when the video follows it."""

    prompt: str
    state: str


@dataclass(frozen=True, kw_only=True)
class SuiteEpisode:
    """One episode of a suite.

    id: its name, also in the names of files.
    case: one of CASES.
    image: path of the start image below the suite's folder.
    old: the first prompt.
    new: the prompt after the switch; None in a control, which has no switch, and in a sham, where `old` is entered anew.
    lost: for controls and shams, what would be seen if the scene were lost; otherwise empty.
    concept: what should disappear, or empty.
    seconds: length of the video.
    switch: when the new prompt is asked for, in seconds.
    distractors: texts of what else may be seen; None takes those that follow from the states.
    """

    id: str
    case: str
    image: str
    old: PromptedState
    new: PromptedState | None
    lost: str
    concept: str
    seconds: float
    switch: float
    distractors: tuple[str, ...] | None = None

    @property
    def changes(self) -> bool:
        """Whether the new prompt asks for another scene."""
        return self.new is not None

    @property
    def other_state(self) -> str:
        """What can be seen where the old scene is not."""
        return self.new.state if self.new is not None else self.lost

    def timeline(self) -> str:
        """The prompts as FramePack Prompt Timeline reads them in brackets."""
        spans = [PromptSpan(start=0.0, text=self.old.prompt, state=self.old.state)]
        if self.new is not None:
            spans.append(PromptSpan(start=self.switch, text=self.new.prompt, state=self.new.state))
        elif self.case == "sham":
            spans.append(PromptSpan(start=self.switch, text=self.old.prompt, state=self.old.state, sham=True))
        return format_spans(spans)


def read_suite(given: str) -> Suite[SuiteEpisode]:
    """The suite of this name (one of SHIPPED) or in this file; raises ValueError in one sentence for each finding.

    The format is described in docs/BENCHMARKS.md.
    """
    return built_suite(*read_suite_file(given), _problems, _episode)


def _episode(entry: Mapping[str, Any], suite: Mapping[str, Any]) -> SuiteEpisode:
    return SuiteEpisode(
        id=entry["id"],
        case=entry["case"],
        image=entry["image"],
        old=PromptedState(**entry["old"]),
        new=PromptedState(**entry["new"]) if "new" in entry else None,
        lost=entry.get("lost", ""),
        concept=entry.get("concept", ""),
        seconds=float(entry.get("seconds", suite["seconds"])),
        switch=float(entry.get("switch", suite["switch"])),
        distractors=tuple(entry["distractors"]) if "distractors" in entry else None,
    )


def _problems(data: Any, folder: Path) -> Iterator[str]:
    return suite_problems(data, folder, schema=SCHEMA, keys=KEYS, episode_problems=_episode_problems)


def _episode_problems(entry: Mapping[str, Any], suite: Mapping[str, Any], folder: Path) -> Iterator[str]:
    case = entry.get("case")
    if case not in CASES:
        yield f"case is {case!r}; give one of {', '.join(CASES)}"
        return
    views = ("old", "new") if case in SWITCHES else ("old",)
    texts = ("concept",) if case == "disappear" else ("lost",) if case not in SWITCHES else ()
    needed = {"id", "case", "image", *views, *texts}
    # A thing may vanish in other cases, too.
    allowed = needed | {"seconds", "switch", "distractors"} | ({"concept"} if case in SWITCHES else set())
    yield from key_problems(entry, needed, allowed)
    yield from (f"{name} is no text" for name in texts if name in entry and not is_text(entry, name))
    for name in views:
        view = entry.get(name, {})
        if name in entry and not (
            isinstance(view, Mapping)
            and set(view) == {"prompt", "state"}
            and all(is_text(view, part) for part in view)
        ):
            yield f"{name} is not a prompt and a state, both text"
    if entry.get("new") is not None and entry.get("old") == entry.get("new"):
        yield "old and new are the same; that is the case sham"
    yield from image_problems(entry.get("image"), folder)
    yield from distractor_problems(entry)
    seconds, switch = (entry.get(name, suite.get(name)) for name in ("seconds", "switch"))
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (seconds, switch)):
        yield "seconds and switch are no numbers"
    elif not 0 < switch <= seconds - LEAST_SECONDS:
        yield f"switch is {switch:g} s of {seconds:g} s; leave at least {LEAST_SECONDS:g} s after it"
