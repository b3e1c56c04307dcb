"""Suites of TransitionBench: episodes as prompts and start images, for any model that a workflow runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...nodes.files.reading import DAMAGED, read_json_file, said, shortened
from ...samplers.timeline.syntaxes.brackets import format_spans
from ...samplers.timeline.syntaxes.spans import PromptSpan
from ..transition.episodes import SWITCHES

SCHEMA = "framepack-transitions/suite/1"
CASES = (*SWITCHES, "control", "sham")
FOLDER = Path(__file__).resolve().parent / "shipped"
SHIPPED = {name: FOLDER / f"{name}_suite.json" for name in ("transition", "tiny")}
LEAST_SECONDS = 0.5  # that must follow a switch to be scored

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SUITE = {"schema", "name", "workflow", "features", "seconds", "switch", "episodes"}
_MAY = {"seeds"}


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


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Episodes and what they are usually run and looked at with: an example workflow, features, and how many seeds."""

    path: Path
    name: str
    workflow: str
    features: str
    episodes: tuple[SuiteEpisode, ...]
    seeds: int = 1

    @property
    def folder(self) -> Path:
        """Where the start images' paths begin."""
        return self.path.parent


def read_suite(given: str) -> Suite:
    """The suite of this name (one of SHIPPED) or in this file; raises ValueError in one sentence for each finding.

    The format is described in docs/BENCHMARKS.md.
    """
    path = SHIPPED.get(given, Path(given))
    if path.is_dir():
        raise ValueError(f"the suite {given} is a folder: name a JSON file in it")
    try:
        data = read_json_file(path)
    except OSError as error:
        raise ValueError(
            f"the suite {given} cannot be read ({error.strerror}): give a file, or {' or '.join(SHIPPED)}"
        ) from error
    except ValueError as error:
        raise ValueError(f"the suite {path.name} is no JSON in UTF-8: {said(error)}") from error
    try:
        return _checked_suite(path, data)
    except WrongSuite:
        raise
    except DAMAGED as error:
        raise ValueError(
            f"the suite {path.name} is damaged: a value is of a wrong kind ({said(error)})"
        ) from error


class WrongSuite(ValueError):
    """Says what is wrong with a suite, one sentence in each line."""


def _checked_suite(path: Path, data: Any) -> Suite:
    problems = [f"the suite {path.name}: {shortened(problem)}" for problem in _problems(data, path.parent)]
    if problems:
        raise WrongSuite("\n".join(problems))
    return Suite(
        path=path,
        name=data["name"],
        workflow=data["workflow"],
        features=data["features"],
        episodes=tuple(_episode(entry, data) for entry in data["episodes"]),
        seeds=data.get("seeds", 1),
    )


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
    if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
        yield f'it is no suite of the schema "{SCHEMA}"'
        return
    yield from _key_problems(data, _SUITE, _SUITE | _MAY)
    seeds = data.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        yield "seeds is no whole number from 1 on"
    yield from (f"{name} is no text" for name in ("name", "workflow", "features") if not _is_text(data, name))
    episodes = data.get("episodes")
    if not isinstance(episodes, list) or not episodes:
        yield "episodes is no list of at least one episode"
        return
    for number, entry in enumerate(episodes, 1):
        if not isinstance(entry, Mapping) or not _ID.fullmatch(str(entry.get("id", ""))):
            yield f"episode {number} has no id of letters, digits, - and _"
            continue
        yield from (f"episode {entry['id']}: {problem}" for problem in _episode_problems(entry, data, folder))
    ids = Counter(str(entry.get("id")) for entry in episodes if isinstance(entry, Mapping))
    yield from (f"several episodes have the id {name}" for name, count in ids.items() if count > 1)


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
    yield from _key_problems(entry, needed, allowed)
    yield from (f"{name} is no text" for name in texts if name in entry and not _is_text(entry, name))
    for name in views:
        view = entry.get(name, {})
        if name in entry and not (
            isinstance(view, Mapping)
            and set(view) == {"prompt", "state"}
            and all(_is_text(view, part) for part in view)
        ):
            yield f"{name} is not a prompt and a state, both text"
    if entry.get("new") is not None and entry.get("old") == entry.get("new"):
        yield "old and new are the same; that is the case sham"
    yield from _image_problems(entry.get("image"), folder)
    others = entry.get("distractors", [])
    if not isinstance(others, list) or not all(isinstance(text, str) and text.strip() for text in others):
        yield "distractors is no list of texts"
    seconds, switch = (entry.get(name, suite.get(name)) for name in ("seconds", "switch"))
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (seconds, switch)):
        yield "seconds and switch are no numbers"
    elif not 0 < switch <= seconds - LEAST_SECONDS:
        yield f"switch is {switch:g} s of {seconds:g} s; leave at least {LEAST_SECONDS:g} s after it"


def _key_problems(entry: Mapping[str, Any], needed: set[str], allowed: set[str]) -> Iterator[str]:
    yield from (f"{name} is missing" for name in sorted(needed - set(entry)))
    yield from (f"{name} has no meaning here" for name in sorted(set(entry) - allowed))


def _image_problems(name: Any, folder: Path) -> Iterator[str]:
    if not isinstance(name, str):
        yield "image is no file name"
        return
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        yield f"the image {name} lies outside the suite's folder; copy it there"
    elif not path.is_file():
        yield f"there is no image {name} beside the suite"


def _is_text(entry: Mapping[str, Any], name: str) -> bool:
    return isinstance(entry.get(name), str) and bool(entry[name].strip())
