"""`sections`: what finished sections take on disk, and a way to remove them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...nodes.kept_records import GIGABYTE, SECTIONS
from ...samplers.store.folder import Entry, RecordFolder
from ...samplers.store.jobs import keys_in_use
from ..workflows.errors import WorkflowError

MEGABYTE = 10**6


@dataclass(frozen=True, kw_only=True)
class SectionsOptions:
    """What the command is asked for.

    folder: where the records lie, or the --out of a run that has kept some.
    limit: how many gigabytes may stay; None removes nothing.
    """

    folder: Path
    limit: float | None = None


def run_sections(options: SectionsOptions) -> str:
    """Removes what was not used for the longest time, if anything, and says what is there.

    Raises WorkflowError for a folder that does not exist or cannot be read.
    """
    if not options.folder.is_dir():
        raise WorkflowError(
            f"{options.folder} is no folder: give that of ComfyUI (user/framepack_transitions/sections), or the folder "
            "sections in the --out of a run."
        )
    below = options.folder / SECTIONS
    folder = RecordFolder(below if below.is_dir() else options.folder)
    try:
        limit = None if options.limit is None else int(options.limit * GIGABYTE)
        removed = [] if limit is None else folder.shrink(limit)
        left, in_use = folder.entries(), keys_in_use(folder.path)
    except OSError as error:
        raise WorkflowError(f"{folder.path} cannot be read: {error.strerror or error}.") from error
    lines = [f"Removed {_described(removed)}."] if limit is not None else []
    lines.append(f"{folder.path}: {_described(left)}{_ages(left)}.")
    if used := sum(entry.key in in_use for entry in left):
        lines.append(f"{used} of them belong to runs that are going on, and stay.")
    return "\n".join(lines)


def _described(entries: Sequence[Entry]) -> str:
    """How many there are and what they take."""
    noun = "record" if len(entries) == 1 else "records"
    return f"{len(entries)} {noun}, {sum(entry.size for entry in entries) / MEGABYTE:.1f} MB"


def _ages(entries: Sequence[Entry]) -> str:
    """When the first and the last of them were used."""
    if not entries:
        return ""
    first, last = (
        time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)) for entry in (entries[0], entries[-1])
    )
    return f", last used between {first} and {last}"
