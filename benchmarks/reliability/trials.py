"""One start of a render in a process of its own, and what a signal at a random moment leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from ...nodes.kept_records import SECTIONS
from ...samplers.store.folder import RecordFolder

PACKAGE = __name__.partition(".benchmarks")[0]
LOG, REPORT = "stderr.txt", "report.json"
END_SECONDS = 120  # within these a process has to end after a signal


@dataclass(frozen=True, kw_only=True)
class Render:
    """A workflow that the command line renders.

    workflow: its file, in API format.
    settings: what --set changes in it.
    out: the folder of the run.
    server: the ComfyUI that it is queued to; None for none.
    """

    workflow: Path
    settings: Sequence[str]
    out: Path
    server: str | None = None

    def command(self) -> list[str]:
        """The command line."""
        changes = [word for setting in self.settings for word in ("--set", setting)]
        changes += ["--server", self.server] if self.server else []
        return [sys.executable, "-m", PACKAGE, "run", str(self.workflow), "--out", str(self.out), *changes]

    @property
    def records(self) -> RecordFolder:
        """What it has finished."""
        return RecordFolder(self.out / SECTIONS)

    def whole_records(self) -> set[str]:
        """The keys of the records that can be read."""
        return {entry.key for entry in self.records.entries() if self.records.read(entry.key) is not None}

    def report(self) -> dict[str, Any]:
        """The report of the finished run."""
        report: dict[str, Any] = json.loads((self.out / REPORT).read_text(encoding="utf-8"))
        return report

    def video(self) -> bytes:
        """The file of the finished run."""
        name: str = self.report()["videos"][-1]["path"]
        return (self.out / name).read_bytes()

    def trace(self) -> dict[str, Any]:
        """The trace of the finished run, without what a run that went on shows otherwise; empty where none was shown."""
        traces = self.report()["traces"]
        if not traces:
            return {}
        trace: dict[str, Any] = traces[0]["trace"]
        sections = [{**section, "seconds": 0, "reused": None} for section in trace["sections"]]
        return {**trace, "sections": sections, "notices": []}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one start came to.

    signal: the name of the signal that stopped it, or how else it was; "" where it ended before.
    seconds: how long it ran until then.
    code: the process's exit code; negative for a signal.
    found: how many records it found at its start.
    left: how many it left, all of them whole.
    lost: how many of those that it found are gone or damaged.
    litter: files that it left and nobody will read.
    traceback: whether it showed one.
    late: whether it had not ended END_SECONDS after it was told to, and was killed then.
    memory: bytes that the ComfyUI took after it, on which it ran; None where nobody looked.
    """

    signal: str
    seconds: float
    code: int
    found: int
    left: int
    lost: int
    litter: Sequence[str]
    traceback: bool
    late: bool = False
    memory: int | None = None

    @property
    def finished(self) -> bool:
        """Whether the render came to its end."""
        return self.code == 0

    def faults(self) -> list[str]:
        """What went wrong, in words."""
        found = [f"{self.lost} finished records lost"] if self.lost else []
        found += [f"left over: {name}" for name in self.litter]
        found += ["a traceback"] if self.traceback else []
        found += [f"it did not end within {END_SECONDS} s"] if self.late else []
        return found


def start(render: Render, seconds: float | None, signal: Signals) -> Trial:
    """Start a render, and stop it after `seconds`, if it has not ended by then; None lets it end.

    A process that is killed outright cannot clean up: what it leaves is cleaned up by the next one and no litter.
    """
    render.out.mkdir(parents=True, exist_ok=True)
    found, before, stopped = render.whole_records(), litter(render.out), False
    with (render.out / LOG).open("w", encoding="utf-8") as log:
        began = time.monotonic()
        process = subprocess.Popen(render.command(), stdout=subprocess.DEVNULL, stderr=log)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            stopped = True
            process.send_signal(signal)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
        finally:
            late = process.poll() is None
            took = time.monotonic() - began
            process.kill()
            process.wait()
    left = render.whole_records()
    # Windows ends a process outright by whatever signal.
    killed = stopped and (signal.name == "SIGKILL" or sys.platform == "win32")
    return Trial(
        signal=signal.name if stopped else "",
        seconds=round(seconds if stopped and seconds is not None else took, 2),
        late=late,
        code=process.returncode,
        found=len(found),
        left=len(left),
        lost=len(found - left),
        litter=[] if killed else [name for name in litter(render.out) if name not in before],
        traceback=shows_traceback(render),
    )


def shows_traceback(render: Render) -> bool:
    """Whether the last start has shown one."""
    return "Traceback" in (render.out / LOG).read_text(encoding="utf-8", errors="replace")


def loading_seconds(render: Render) -> float:
    """How long a start of the render takes until it does something: what the command takes to explain itself."""
    began = time.monotonic()
    subprocess.run([*render.command()[:4], "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def litter(out: Path) -> list[str]:
    """Files of a run that nobody will read: hidden, unfinished or empty ones, and those of jobs."""
    files = [path for path in out.rglob("*") if path.is_file() and path != out / LOG]
    return sorted(
        path.relative_to(out).as_posix()
        for path in files
        if path.name.startswith(".")
        or ".part" in path.name
        or not path.stat().st_size
        or path.parent.name == "jobs"
    )
