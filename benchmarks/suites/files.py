"""Suites as files: which ones come with the pack, and what is read and checked alike in every kind of suite."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ...nodes.files.reading import DAMAGED, read_json_file, said, shortened

FOLDER = Path(__file__).resolve().parent / "shipped"
SHIPPED = {name: FOLDER / f"{name}_suite.json" for name in ("transition", "tiny", "long")}

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

EpisodeProblems = Callable[[Mapping[str, Any], Mapping[str, Any], Path], Iterator[str]]


class PromptedVideo(Protocol):
    """What a workflow needs to know of an episode.

    id: its name, also in the names of files. image: path of the start image below the suite's folder.
    """

    @property
    def id(self) -> str: ...

    @property
    def image(self) -> str: ...

    @property
    def seconds(self) -> float:
        """Length of the video."""
        ...

    def timeline(self) -> str:
        """The prompts as FramePack Prompt Timeline reads them in brackets."""
        ...


E = TypeVar("E", bound=PromptedVideo)


@dataclass(frozen=True, kw_only=True)
class Suite(Generic[E]):
    """Episodes and what they are usually run and looked at with: an example workflow, features, and how many seeds."""

    path: Path
    name: str
    workflow: str
    features: str
    episodes: tuple[E, ...]
    seeds: int = 1
    images: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the start images' paths begin: beside the file, unless `images` says otherwise."""
        return self.path.parent if self.images is None else self.images


class WrongSuite(ValueError):
    """Says what is wrong with a suite, one sentence in each line."""


def read_suite_file(given: str) -> tuple[Path, Any]:
    """The path of the suite of this name (one of SHIPPED) or in this file, and what it holds, unchecked.

    Raises ValueError with a sentence where there is no JSON to be read.
    """
    path = SHIPPED.get(given, Path(given))
    if path.is_dir():
        raise ValueError(f"the suite {given} is a folder: name a JSON file in it")
    try:
        return path, read_json_file(path)
    except OSError as error:
        raise ValueError(
            f"the suite {given} cannot be read ({error.strerror}): give a file, or one of {', '.join(SHIPPED)}"
        ) from error
    except ValueError as error:
        raise ValueError(f"the suite {path.name} is no JSON in UTF-8: {said(error)}") from error


def built_suite(
    path: Path,
    data: Any,
    problems: Callable[[Any, Path], Iterator[str]],
    episode: Callable[[Mapping[str, Any], Mapping[str, Any]], E],
) -> Suite[E]:
    """The suite that a file holds; raises ValueError in one sentence for each of its `problems`.

    problems: finds what is wrong with the data of a suite in a folder. episode: makes an episode of its entry and of the
    whole suite's data.
    """
    try:
        found = [f"the suite {path.name}: {shortened(problem)}" for problem in problems(data, path.parent)]
        if found:
            raise WrongSuite("\n".join(found))
        return Suite(
            path=path,
            name=data["name"],
            workflow=data["workflow"],
            features=data["features"],
            episodes=tuple(episode(entry, data) for entry in data["episodes"]),
            seeds=data.get("seeds", 1),
        )
    except WrongSuite:
        raise
    except DAMAGED as error:
        raise ValueError(
            f"the suite {path.name} is damaged: a value is of a wrong kind ({said(error)})"
        ) from error


def suite_problems(
    data: Any, folder: Path, *, schema: str, keys: set[str], episode_problems: EpisodeProblems
) -> Iterator[str]:
    """What is wrong with a suite of a schema whose data have these `keys`, besides `seeds`, which may be missing."""
    if not isinstance(data, Mapping) or data.get("schema") != schema:
        yield f'it is no suite of the schema "{schema}"'
        return
    yield from key_problems(data, keys, keys | {"seeds"})
    seeds = data.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        yield "seeds is no whole number from 1 on"
    yield from (f"{name} is no text" for name in ("name", "workflow", "features") if not is_text(data, name))
    episodes = data.get("episodes")
    if not isinstance(episodes, list) or not episodes:
        yield "episodes is no list of at least one episode"
        return
    for number, entry in enumerate(episodes, 1):
        if not isinstance(entry, Mapping) or not _ID.fullmatch(str(entry.get("id", ""))):
            yield f"episode {number} has no id of letters, digits, - and _"
            continue
        yield from (f"episode {entry['id']}: {problem}" for problem in episode_problems(entry, data, folder))
    ids = Counter(str(entry.get("id")) for entry in episodes if isinstance(entry, Mapping))
    yield from (f"several episodes have the id {name}" for name, count in ids.items() if count > 1)


def key_problems(entry: Mapping[str, Any], needed: set[str], allowed: set[str]) -> Iterator[str]:
    """Keys that are missing, and keys that mean nothing."""
    yield from (f"{name} is missing" for name in sorted(needed - set(entry)))
    yield from (f"{name} has no meaning here" for name in sorted(set(entry) - allowed))


def image_problems(name: Any, folder: Path) -> Iterator[str]:
    """Why a start image is none that lies in a suite's folder."""
    if not isinstance(name, str):
        yield "image is no file name"
        return
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        yield f"the image {name} lies outside the suite's folder; copy it there"
    elif not path.is_file():
        yield f"there is no image {name} beside the suite"


def distractor_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    """Whether the texts of what else may be seen are texts."""
    others = entry.get("distractors", [])
    if not isinstance(others, list) or not all(isinstance(text, str) and text.strip() for text in others):
        yield "distractors is no list of texts"


def is_text(entry: Mapping[str, Any], name: str) -> bool:
    """Whether an entry holds a text under this name that is not empty."""
    return isinstance(entry.get(name), str) and bool(entry[name].strip())
