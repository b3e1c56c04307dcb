"""The results of TransitionBench on disk: one line of JSON an episode and arm, named by all that it depends on."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from ....tiny import detector, world
from ....tiny.source import source_digest
from ..arms import Arm
from ..measures import Measures
from . import exemplars

logger = logging.getLogger(__name__)

VERSION = 4  # of what is measured and how: results of another version are not mixed with these
EPISODES = "episodes.jsonl"  # grows while a run goes on
COMPRESSED = "episodes.jsonl.gz"  # what its report says, and nothing else


L = TypeVar("L", bound="Line")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is kept as a line of JSON.

    key: the name of all that it depends on.
    """

    key: str

    def to_line(self) -> str:
        """All of it as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls: type[L], line: str) -> L:
        """The inverse of `to_line`, for lines without parts of their own; raises ValueError, KeyError or TypeError for other text."""
        facts = dict(json.loads(line)).items()
        values: dict[str, Any] = {
            name: tuple(fact) if isinstance(fact, list) else fact for name, fact in facts
        }
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Result(Line):
    """One line of the results: an episode sampled under one arm.

    key: see `ResultKeys`.
    case, seed: the episode.
    arm: the name of the arm.
    valid: whether the old scene was seen before the switch; other episodes are not counted.
    measures: what the episode has shown.
    evaluations: calls of the model after the switch.
    seconds: time for them, divided by the number of episodes in the batch.
    """

    case: str
    seed: int
    arm: str
    valid: bool
    measures: Measures
    evaluations: int
    seconds: float

    @classmethod
    def from_line(cls, line: str) -> Result:
        """The inverse of `to_line`; raises ValueError, KeyError or TypeError for other text."""
        facts = json.loads(line)
        measures = facts.pop("measures")
        return cls(measures=Measures(**{**measures, "held": tuple(measures["held"])}), **facts)


@dataclass
class ResultFile(Generic[L]):
    """A file of results, and what it holds by key. Lines are appended as results come."""

    path: Path
    results: dict[str, L] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, from_line: Callable[[str], L]) -> ResultFile[L]:
        """Read what an earlier run has left in `folder`, compressed or not; `from_line` reads a line as `Result.from_line` does.

        What cannot be read, such as a line that was cut off, is left out with a warning, so that it is measured again.
        """
        file: ResultFile[L] = cls(folder / EPISODES)
        for path in (folder / COMPRESSED, file.path):
            for number, line in enumerate(_lines_of(path), 1):
                try:
                    result = from_line(line)
                except (ValueError, KeyError, TypeError) as error:
                    logger.warning(
                        "%s, line %d cannot be read (%s) and is measured again.", path, number, error
                    )
                else:
                    file.results[result.key] = result
        return file

    def add(self, results: Sequence[L]) -> None:
        """Append results to the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(result.to_line() for result in results)
        cut_off = (
            self.path.is_file() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n")
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" * bool(cut_off) + text)
        self.results.update((result.key, result) for result in results)


def _lines_of(path: Path) -> Iterator[str]:
    """The lines of a file of results; none where there is no such file, or where it cannot be unpacked."""
    if not path.is_file():
        return
    data = path.read_bytes()
    try:
        yield from (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        logger.warning("%s cannot be read (%s); what it held is measured again.", path, error)


def save_compressed(folder: Path, results: Sequence[Line]) -> None:
    """Write the results of a report, in its order, a line each; the same bytes for the same results."""
    write_compressed(folder / COMPRESSED, (result.to_line() for result in results))


def write_compressed(path: Path, lines: Iterable[str]) -> None:
    """Write lines, compressed by gzip; the same bytes for the same lines."""
    path.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


@dataclass(frozen=True)
class ResultKeys:
    """Names results by everything that they depend on; `fingerprint` is the EpisodeSampler's."""

    fingerprint: str

    def key(self, case: str, seed: int, arm: Arm, batch: Sequence[int]) -> str:
        """The key of an episode under an arm; `batch` has the seeds of all episodes that are sampled with it.

        The batch is part of the key because numbers may be rounded otherwise in a batch of another size.
        """
        what = [arm.name, arm.describe(), asdict(arm.conditions)]
        if arm.conditions.reads_exemplars:
            what.append(library_digest())
        facts = [VERSION, world_digest(), self.fingerprint, case, seed, list(batch), *what]
        return key_of(facts)


def key_of(facts: Sequence[Any]) -> str:
    """The name of a result that depends on these facts, which JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


@cache
def world_digest() -> str:
    """A digest of the code that draws the embedded world, writes its prompts and detects its scenes."""
    return source_digest(world, detector)


@cache
def library_digest() -> str:
    """A digest of the code that says which clips are found."""
    return source_digest(exemplars)
