"""What a check finds, and the order in which it looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...samplers.context.indices import Direction
from ...samplers.context.plan import direction_of
from ..caches import latent_caches
from ..dataset import Dataset, Example, kind_cache
from ..musubi.latents import LatentCache, read_latents
from ..musubi.names import text_file
from ..musubi.texts import read_text

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or looks wrong, with an example; `subject` is its name, or that of a file."""

    level: str
    subject: str
    message: str

    def line(self) -> str:
        """The finding as a line of a report."""
        return f"{self.level}: {self.subject}: {self.message}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Loaded:
    """An example with the caches that could be read; what could not is None."""

    example: Example
    latents: LatentCache | None = None
    caption: str | None = None


def error(subject: str, message: str) -> Finding:
    """A finding that spoils training."""
    return Finding(ERROR, subject, message)


def warning(subject: str, message: str) -> Finding:
    """A finding that a person should look at."""
    return Finding(WARNING, subject, message)


def reading_direction(dataset: Dataset) -> Direction:
    """On which side of a window the dataset's memory lies."""
    return Direction.BACKWARD if dataset.one_frame else direction_of(dataset.layout)


def load_example(example: Example, dataset: Dataset, root: Path) -> tuple[Loaded, list[Finding]]:
    """The caches of an example, and what is wrong with the files themselves."""
    own = latent_caches(example, root)
    findings = list(_count_findings(example, own))
    loaded = Loaded(example=example)
    if len(own) == 1:
        loaded, found = _with_latents(loaded, own[0], dataset)
        findings += found
    text = text_file(kind_cache(root, example.kind), example.name)
    if not text.is_file():
        return loaded, [
            *findings,
            error(example.name, "its caption is not encoded, so that training leaves it out"),
        ]
    try:
        caption = read_text(text).caption
    except ValueError as problem:
        return loaded, [*findings, error(example.name, str(problem))]
    return Loaded(example=example, latents=loaded.latents, caption=caption), findings


def _count_findings(example: Example, own: list[Path]) -> Iterator[Finding]:
    if not own:
        yield error(example.name, "its latents are not cached; run the first two steps of README.md")
    if len(own) > 1:
        names = ", ".join(file.name for file in own)
        yield error(
            example.name,
            f"it has {len(own)} latent caches, and is trained with each: {names}; remove all but one",
        )


def _with_latents(loaded: Loaded, file: Path, dataset: Dataset) -> tuple[Loaded, list[Finding]]:
    try:
        latents = read_latents(file, reading_direction(dataset))
    except ValueError as problem:
        return loaded, [error(loaded.example.name, str(problem))]
    return Loaded(example=loaded.example, latents=latents), []
