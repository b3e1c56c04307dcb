"""Gives the cached sections of whole clips to the examples that they are, and removes what belongs to none.

musubi-tuner caches all sections of a video and joins them to one caption by their name. Under names of their own they
have captions of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .dataset import Dataset, Example, clip_cache, kind_cache
from .musubi.names import LatentName, latent_files, read_name


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was done: how many examples have got their latents, which had them before, what was removed, what is missing."""

    moved: int
    there: int
    removed: tuple[str, ...]
    missing: tuple[str, ...]


def prune(dataset: Dataset, root: Path) -> Pruned:
    """Moves every cached section to its example's folder under its example's name. Raises OSError.

    A section that is no example is removed, and so are latents in the examples' folders that the dataset does not have.
    What is moved is copied first, so that nothing is lost when it is interrupted.
    """
    found = {
        (name.item, name.section): file for file, name in _named(clip_cache(root)) if name.section is not None
    }
    there = {name.item for kind in dataset.kinds for _, name in _named(kind_cache(root, kind))}
    moved, missing = 0, []
    for example in dataset.examples:
        source = found.get((example.clip, example.section))
        if source is not None and not example.copy_of:
            _place(source, example, root)
            moved += 1
        elif example.name not in there:
            missing.append(example.name)
    removed = [*_used_up(found, dataset), *_strangers(dataset, root)]
    for file in [*found.values(), *removed]:
        file.unlink(missing_ok=True)
    return Pruned(
        moved=moved,
        there=len(dataset.examples) - moved - len(missing),
        removed=tuple(file.name for file in removed),
        missing=tuple(missing),
    )


def _named(folder: Path) -> Iterator[tuple[Path, LatentName]]:
    """The latent caches of a folder with what their names say; others are left alone."""
    for file in latent_files(folder):
        if (name := read_name(file)) is not None:
            yield file, name


def _place(source: Path, example: Example, root: Path) -> None:
    name = read_name(source)
    if name is None:
        return
    target = kind_cache(root, example.kind) / replace(name, item=example.name).file()
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.tmp")
    shutil.copyfile(source, unfinished)
    unfinished.replace(target)


def _used_up(found: dict[tuple[str, int], Path], dataset: Dataset) -> list[Path]:
    """Cached sections that are no example."""
    wanted = {(example.clip, example.section) for example in dataset.examples}
    return [file for place, file in found.items() if place not in wanted]


def _strangers(dataset: Dataset, root: Path) -> list[Path]:
    """Latents in the folders of the kinds that are none of the kind's examples: training would take them."""
    strangers = []
    for kind in dataset.kinds:
        names = {example.name for example in dataset.of_kind(kind)}
        strangers += [file for file, name in _named(kind_cache(root, kind)) if name.item not in names]
    return strangers
