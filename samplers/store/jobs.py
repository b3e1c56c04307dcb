"""Which records running jobs use, so that nobody removes these.

Every job has a file in the folder `jobs` that it holds locked as long as it runs; each line of it is a key. The system
gives the lock up when the process ends, however it ends.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

FOLDER = "jobs"
UNFINISHED = ".part"
# Where Windows locks, far behind the keys: what is locked there cannot be read by others.
LOCKED_BYTE = 2**30
NEW_SECONDS = 5  # within these an empty file may not have been locked yet
LONGEST_SECONDS = (
    2 * 24 * 3600
)  # after these without a new key a job is over, also where files cannot be locked


class JobFile:
    """The file of one job in the folder of records. Raises OSError where it cannot be written.

    unfinished: where the job writes a record until it is whole.
    """

    def __init__(self, folder: Path) -> None:
        jobs = folder / FOLDER
        jobs.mkdir(mode=0o700, exist_ok=True)
        self._path = jobs / uuid4().hex
        self.unfinished = _unfinished(self._path)
        self._file: IO[str] = open_private(self._path, "x")
        self._keys: set[str] = set()
        with suppress(OSError):  # a file system without locks
            _lock(self._file)

    def use(self, key: str) -> None:
        """Say that the job uses a record. Raises OSError where that cannot be written."""
        if key not in self._keys:
            self._file.write(f"{key}\n")
            self._file.flush()
            self._keys.add(key)

    def close(self) -> None:
        """Give the records free."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink()


def keys_in_use(folder: Path) -> set[str]:
    """The keys of all jobs that still run; what the others have left is removed."""
    keys: set[str] = set()
    for path in (folder / FOLDER).glob("*"):
        with suppress(OSError):
            if _runs(path):
                keys.update(path.read_text(encoding="ascii", errors="replace").split())
            else:
                _unfinished(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
    return keys


def _unfinished(job: Path) -> Path:
    return job.parents[1] / f"{job.name}{UNFINISHED}"


def _runs(path: Path) -> bool:
    """Whether the job of a file still runs. Raises OSError where the file is gone."""
    state = path.stat()
    age = time.time() - state.st_mtime
    if age > LONGEST_SECONDS:
        return False
    if not state.st_size and age < NEW_SECONDS:
        return True
    with path.open("r+", encoding="ascii") as file:
        try:
            _lock(file)
        except OSError:  # locked, or on a file system without locks
            return True
    return False


def open_private(path: Path, mode: str) -> IO[Any]:
    """Open a file for writing that nobody else may read."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))  # Path has no opener


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        """Lock a file until it is closed; raises OSError where someone else holds it."""
        file.seek(LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        """Lock a file until it is closed; raises OSError where someone else holds it."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
