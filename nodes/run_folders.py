"""The folders that nodes read from and write to outside ComfyUI.

Whoever runs nodes there says which folders these are; inside ComfyUI its own folders are used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

logger = logging.getLogger(__name__)

PREVIEWS = "previews"  # the folder of temporary pictures outside ComfyUI


class InputFolder(Protocol):
    """The only folder that a run outside ComfyUI reads from."""

    def input_files(self, extensions: frozenset[str]) -> list[str]:
        """The names of the files in the folder that end in one of these extensions, such as `.png`."""

    def input_file(self, name: str) -> Path:
        """The path of a file in the folder; raises ValueError where the folder has no such file."""


class NewFile(Protocol):
    """A file that is being written.

    path: where the file appears when it is complete.
    unfinished: where it is written until then.
    """

    @property
    def path(self) -> Path: ...

    @property
    def unfinished(self) -> Path: ...


class OutputFolder(Protocol):
    """The only folder that a run outside ComfyUI writes to.

    output: its path.
    records: where finished work is kept for the next run; None keeps nothing.
    """

    @property
    def output(self) -> Path: ...

    @property
    def records(self) -> Path | None: ...

    def new_file(
        self, prefix: str, extension: str, size: tuple[int, int] = (0, 0), *, grows: bool = False
    ) -> AbstractContextManager[NewFile]:
        """The next free file `prefix_00001_.extension`; where the block fails, no file is left.

        Of a file that `grows`, which is of use from its first bytes on, what is there is left. `size` (width, height) fills
        %width% and %height% in the prefix.
        """


@contextmanager
def kept_if_begun(path: Path) -> Iterator[None]:
    """Where the block fails, the file that it writes stays if it holds anything, and the log says so."""
    try:
        yield
    except BaseException:
        if path.is_file() and path.stat().st_size:
            logger.warning("What was finished is kept: %s", path)
        else:
            path.unlink(missing_ok=True)
        raise


_input_folder: ContextVar[InputFolder | None] = ContextVar("framepack_input_folder", default=None)
_output_folder: ContextVar[OutputFolder | None] = ContextVar("framepack_output_folder", default=None)


@contextmanager
def reading_from(folder: InputFolder) -> Iterator[None]:
    """Makes nodes read from this folder inside the block."""
    token = _input_folder.set(folder)
    try:
        yield
    finally:
        _input_folder.reset(token)


def input_folder() -> InputFolder | None:
    """The folder to read from, or None outside of `reading_from`."""
    return _input_folder.get()


@contextmanager
def writing_to(folder: OutputFolder) -> Iterator[None]:
    """Makes nodes write to this folder inside the block."""
    token = _output_folder.set(folder)
    try:
        yield
    finally:
        _output_folder.reset(token)


def output_folder() -> OutputFolder | None:
    """The folder to write to, or None outside of `writing_to`."""
    return _output_folder.get()
