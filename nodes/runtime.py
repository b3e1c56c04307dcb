"""Where the pack is running, and where files come from outside ComfyUI."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

PREVIEWS = "previews"  # the folder of temporary pictures outside ComfyUI


class InputFolder(Protocol):
    """The one folder that a run outside ComfyUI reads from."""

    def input_files(self, extensions: frozenset[str]) -> list[str]:
        """Names of the files with one of these extensions."""

    def input_file(self, name: str) -> Path:
        """An existing file of the folder; raises ValueError for any other."""


class NewFile(Protocol):
    """A file in the making: written under `unfinished`, it appears as `path` when it is whole."""

    path: Path
    unfinished: Path


class OutputFolder(Protocol):
    """The one folder that a run outside ComfyUI writes to."""

    output: Path

    def new_file(
        self, prefix: str, extension: str, size: tuple[int, int] = (0, 0)
    ) -> AbstractContextManager[NewFile]:
        """The next free file of that name; if the block fails nothing stays behind."""


_input_folder: ContextVar[InputFolder | None] = ContextVar("framepack_input_folder", default=None)
_output_folder: ContextVar[OutputFolder | None] = ContextVar("framepack_output_folder", default=None)


def inside_comfyui() -> bool:
    """Whether this process is a ComfyUI server: it has loaded its model patcher before it loads any node."""
    return "comfy.model_patcher" in sys.modules


@contextmanager
def reading_from(folder: InputFolder) -> Iterator[None]:
    """Makes this the folder from which nodes read inside the block."""
    token = _input_folder.set(folder)
    try:
        yield
    finally:
        _input_folder.reset(token)


def input_folder() -> InputFolder | None:
    """The folder of the current run, or None where there is none."""
    return _input_folder.get()


@contextmanager
def writing_to(folder: OutputFolder) -> Iterator[None]:
    """Makes this the folder to which nodes write inside the block."""
    token = _output_folder.set(folder)
    try:
        yield
    finally:
        _output_folder.reset(token)


def output_folder() -> OutputFolder | None:
    """The folder that the current run writes to, or None where there is none."""
    return _output_folder.get()
