"""A ComfyUI that is told again and again to interrupt what it renders, and the memory that it takes in the meantime."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from ...nodes.kept_records import SECTIONS
from .host import START_SECONDS, Host
from .trials import END_SECONDS, LOG, Render, Trial, litter, shows_traceback

INTERRUPT = "interrupt"
# After a run a ComfyUI is still busy with itself, and what it is told then waits for the run after.
SETTLED_SECONDS = 2


class Interruptible(Protocol):
    """A ComfyUI that listens."""

    def interrupt(self) -> None:
        """Interrupt what it executes."""

    def forget(self) -> None:
        """Empty its caches of what nodes have returned."""


@dataclass(frozen=True, kw_only=True)
class InterruptTrials:
    """Starts of renders on one ComfyUI that goes on all the time.

    comfyui: takes the interrupts.
    process: its process id.
    sections: a link to the records of the render of the moment, which it follows.
    """

    comfyui: Interruptible
    process: int
    sections: Path

    def start(self, render: Render, seconds: float | None, signal: Signals) -> Trial:
        """Start a render, and have it interrupted after `seconds` if it has not ended by then; no signal is sent.

        An interrupt that found nothing to stop does not count: the render has ended.
        """
        self._lead_to(render)
        found = render.whole_records()
        with (render.out / LOG).open("w", encoding="utf-8") as log:
            began = time.monotonic()
            process = subprocess.Popen(render.command(), stdout=subprocess.DEVNULL, stderr=log)
            told = self._ended(process, seconds)
            took = time.monotonic() - began
        left, stopped = render.whole_records(), told and process.returncode != 0
        return Trial(
            signal=INTERRUPT if stopped else "",
            seconds=round(seconds if stopped and seconds is not None else took, 2),
            code=process.returncode,
            found=len(found),
            left=len(left),
            lost=len(found - left),
            litter=litter(render.out),
            traceback=shows_traceback(render),
            memory=resident_bytes(self.process),
        )

    def _ended(self, process: subprocess.Popen[bytes], seconds: float | None) -> bool:
        """Wait for the end of a render; whether the ComfyUI was told to interrupt, after so many seconds."""
        try:
            process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            self.comfyui.interrupt()
            process.wait(START_SECONDS + END_SECONDS)
            return True
        finally:
            process.kill()
            process.wait()

    def _lead_to(self, render: Render) -> None:
        """Let the ComfyUI keep its sections with this render. One that is new finds nothing in its caches."""
        records = (render.out / SECTIONS).resolve()
        if not records.exists():
            records.mkdir(parents=True)
            time.sleep(SETTLED_SECONDS)
            self.comfyui.forget()
        self.sections.unlink(missing_ok=True)
        self.sections.symlink_to(records, target_is_directory=True)


@contextmanager
def interrupting(host: Host, comfyui: Interruptible) -> Iterator[InterruptTrials]:
    """Trials on a ComfyUI that runs as long as the block. Raises RuntimeError where it does not come to listen."""
    with host.started(host.base) as process:
        yield InterruptTrials(comfyui=comfyui, process=process.pid, sections=host.base / SECTIONS)


def resident_bytes(process: int) -> int | None:
    """The memory that a process takes; None where the system does not say it under /proc."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)
