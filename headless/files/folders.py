"""The two folders of a run: files come from the input folder only and go into the output folder only."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from ...nodes.files.names import check_prefix
from ...nodes.files.reading import shortened
from ...nodes.run_folders import PREVIEWS, kept_if_begun, reading_from, writing_to
from .media import VIDEO_EXTENSIONS

_ANNOTATION = re.compile(r"\s*\[(input|output|temp)\]$")


@dataclass(frozen=True)
class NewFile:
    """A file in the making: written under `unfinished`, it appears as `path` when it is whole; one that grows has one name."""

    path: Path
    unfinished: Path


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes; neither has to exist yet.

    input: the only folder that files come from.
    output: the only folder that files go into.
    records: where finished work is kept for the next run; None keeps nothing.
    """

    input: Path
    output: Path
    records: Path | None = None

    def input_files(self, extensions: frozenset[str]) -> list[str]:
        """Names of the files with one of these extensions directly in the input folder, sorted."""
        if not self.input.is_dir():
            return []
        return sorted(
            entry.name
            for entry in self.input.iterdir()
            if entry.is_file() and entry.suffix.lower() in extensions and not entry.name.startswith(".")
        )

    def input_file(self, name: str) -> Path:
        """The existing file `name` of the input folder; raises ValueError when it is elsewhere or missing."""
        place = _ANNOTATION.search(name)
        if place and place[1] != "input":
            raise ValueError(
                f"the file {shortened(name)!r} is marked as {place[1]}, only files of the input folder can be read"
            )
        plain = _ANNOTATION.sub("", name)
        if not plain.strip() or not plain.isprintable() or Path(plain).name.startswith("."):
            raise ValueError(
                f"the file name {shortened(plain)!r} is empty, hidden or not printable, choose another file"
            )
        path = (self.input / plain).resolve()
        if not path.is_relative_to(self.input.resolve()):
            raise ValueError(
                f"the file {shortened(plain)!r} is outside the input folder {self.input}, copy it there"
            )
        if not path.is_file():
            there = (
                ", ".join(sorted(item.name for item in self.input.iterdir())) if self.input.is_dir() else ""
            )
            there = shortened(there)
            raise ValueError(
                f"the input folder {self.input} has no file {shortened(plain)!r}, it "
                + (f"holds {there}" if there else "is empty or missing")
            )
        return path

    @contextmanager
    def new_file(
        self, prefix: str, extension: str, size: tuple[int, int] = (0, 0), *, grows: bool = False
    ) -> Iterator[NewFile]:
        """The next `prefix_00001_.extension`, which appears under that name when the block ends.

        The counter is one above the highest in the folder, as in ComfyUI, and nothing is overwritten; if the
        block fails nothing stays behind. A file that `grows` is of use from its first bytes on: it is written under its
        name, and if the block fails, what is there stays. `size` (width, height) fills %width% and %height% in the prefix.
        Raises ValueError when the prefix leads out of the output folder.
        """
        path = self._reserve(_expand(prefix, size), extension)
        if grows:
            with kept_if_begun(path):
                yield NewFile(path, path)
            return
        # Hidden until it is whole: whoever stops the program must not find half a picture.
        file = NewFile(path, path.with_name(f".{path.stem}.part{extension}"))
        try:
            yield file
            file.unfinished.replace(path)
        except BaseException:
            file.unfinished.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise

    @contextmanager
    def without_previews(self) -> Iterator[None]:
        """Removes videos that showed how far the run in the block was: nobody plays them when it has ended."""
        folder = self.output / PREVIEWS
        before = set(folder.glob("*"))
        try:
            yield
        finally:
            for path in set(folder.glob("*")) - before:
                if path.suffix.lower() in VIDEO_EXTENSIONS:
                    path.unlink(missing_ok=True)
            with suppress(OSError):  # it holds pictures that were asked for, or was never made
                folder.rmdir()

    def _reserve(self, prefix: str, extension: str) -> Path:
        check_prefix(prefix)
        stem = (self.output / prefix).resolve()
        if (
            not prefix.strip()
            or prefix.endswith(("/", os.sep))
            or not stem.is_relative_to(self.output.resolve())
            or stem == self.output.resolve()
        ):
            raise ValueError(
                f"the filename_prefix {shortened(prefix)!r} does not name a file inside the output folder {self.output}"
            )
        stem.parent.mkdir(parents=True, exist_ok=True)
        counter = 1 + max((_counter(entry.name, stem.name) for entry in stem.parent.iterdir()), default=0)
        while True:
            target = stem.with_name(f"{stem.name}_{counter:05}_{extension}")
            try:
                target.touch(exist_ok=False)
            except FileExistsError:
                counter += 1
            else:
                return target


def _counter(name: str, stem: str) -> int:
    match = re.match(re.escape(stem) + r"_(\d+)", name)
    return int(match[1]) if match else 0


def _expand(prefix: str, size: tuple[int, int]) -> str:
    now = time.localtime()
    values = {
        "width": size[0],
        "height": size[1],
        "year": now.tm_year,
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", str(value))
    return prefix


_current: ContextVar[Folders | None] = ContextVar("framepack_folders", default=None)


@contextmanager
def using(folders: Folders) -> Iterator[None]:
    """Makes these the folders of the nodes that run inside the block."""
    token = _current.set(folders)
    try:
        with reading_from(folders), writing_to(folders):
            yield
    finally:
        _current.reset(token)


def current() -> Folders:
    """The folders of the current run; raises RuntimeError outside of one."""
    folders = _current.get()
    if folders is None:
        raise RuntimeError("no input and output folder is set; core nodes run inside folders.using(...)")
    return folders
