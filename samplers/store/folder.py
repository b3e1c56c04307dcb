"""The folder of records: private, bounded, safe to share between processes and to be killed in."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .jobs import JobFile, keys_in_use, open_private
from .record import BrokenRecord, Record

logger = logging.getLogger(__name__)

MOST_BYTES = 2 * 10**9
FREE_SHARE = 0.05  # of the disk, which is never filled
SUFFIX = ".safetensors"


class RecordStore(Protocol):
    """Where records are read and written by key; neither ever ends a run."""

    def get(self, key: str) -> Record | None:
        """The record of a key; None where there is none."""

    def put(self, key: str, record: Record) -> bool:
        """Keep a record; whether that was possible."""


class NoRoom(OSError):
    """Raised where a record would go over the folder's bound or into the last part of the disk."""


@dataclass(frozen=True)
class Entry:
    """A record in the folder.

    key: its name.
    path: its file.
    size: in bytes.
    used: when it was written or read last, in seconds.
    """

    key: str
    path: Path
    size: int
    used: float


@dataclass(frozen=True)
class RecordFolder:
    """Records on disk.

    path: the folder, which need not exist.
    most_bytes: how large all records together may become. Those that were not used for the longest time go first.
    """

    path: Path
    most_bytes: int = MOST_BYTES

    @contextmanager
    def job(self) -> Iterator[RecordStore]:
        """A store for one run. What it reads and writes is not removed by anyone while the block runs."""
        job = _Job(self)
        try:
            yield job
        finally:
            job.close()

    def entries(self) -> list[Entry]:
        """All records, those first that were not used for the longest time."""
        found = []
        for path in self.path.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):
                state = path.stat()
                found.append(Entry(path.name.removesuffix(SUFFIX), path, state.st_size, state.st_mtime))
        return sorted(found, key=lambda entry: entry.used)

    def shrink(self, most_bytes: int) -> list[Entry]:
        """Remove the records that were not used for the longest time until the rest fits; give those that were removed.

        Records of running jobs stay.
        """
        entries, kept = self.entries(), keys_in_use(self.path)
        excess = sum(entry.size for entry in entries) - most_bytes
        removed = []
        for entry in (entry for entry in entries if entry.key not in kept):
            if excess <= 0:
                break
            if _remove(entry.path):
                excess -= entry.size
                removed.append(entry)
        return removed

    def read(self, key: str) -> Record | None:
        """The record of a key, which counts as used now; one that is not whole is removed. Raises OSError."""
        path = self._file(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            record = Record.from_bytes(data, key)
        except BrokenRecord as error:
            logger.warning("Removing %s, which is damaged: %s", path, error)
            _remove(path)
            return None
        with suppress(OSError):
            os.utime(path)
        return record

    def write(self, key: str, record: Record, unfinished: Path) -> None:
        """Keep a record: it is written to `unfinished` and appears whole or not at all. Raises OSError."""
        data = record.to_bytes(key)
        self._make_room(len(data))
        try:
            with open_private(unfinished, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._file(key))
        except BaseException:
            _remove(unfinished)
            raise
        _sync(self.path)

    def _file(self, key: str) -> Path:
        return self.path / f"{key}{SUFFIX}"

    def _make_room(self, size: int) -> None:
        """Remove old records until one of `size` bytes fits. Raises NoRoom where running jobs need all of them."""
        disk = shutil.disk_usage(self.path)
        held = sum(entry.size for entry in self.entries())
        on_disk = held + disk.free - int(FREE_SHARE * disk.total)
        bound = min(self.most_bytes, on_disk) - size
        if held > bound:
            held -= sum(entry.size for entry in self.shrink(bound))
        if held > bound:
            reason = "the disk is nearly full" if on_disk < self.most_bytes else "its bound is reached"
            raise NoRoom(f"{reason}, and running jobs need what is there")


class _Job:
    """The store of one run: trouble with the disk is said once and ends nothing."""

    def __init__(self, folder: RecordFolder) -> None:
        self._folder = folder
        self._file: JobFile | None = None
        self._troubled = False

    def get(self, key: str) -> Record | None:
        with suppress(OSError):  # a full disk can still be read
            self._use(key)
        try:
            return self._folder.read(key)
        except OSError as error:
            self._say(error)
            return None

    def put(self, key: str, record: Record) -> bool:
        try:
            self._folder.write(key, record, self._use(key).unfinished)
        except OSError as error:
            self._say(error)
            return False
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _use(self, key: str) -> JobFile:
        """The job's own file, with the key in it."""
        if self._file is None:
            self._folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            keys_in_use(self._folder.path)
            self._file = JobFile(self._folder.path)
        self._file.use(key)
        return self._file

    def _say(self, error: OSError) -> None:
        if not self._troubled:
            logger.warning(
                "What is finished cannot be kept in %s (%s); the run goes on, but what it makes from here on would have to "
                "be made anew after a stop.",
                self._folder.path,
                error.strerror or error,
            )
        self._troubled = True


def _remove(path: Path) -> bool:
    """Remove a file; whether it is gone. On Windows one that someone reads stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _sync(folder: Path) -> None:
    """Let the names of new files outlast a power cut, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
