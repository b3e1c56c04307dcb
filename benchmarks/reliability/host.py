"""A ComfyUI that is killed while a workflow runs on it and started again: the command that has queued it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from ...nodes.kept_records import FOLDER_VARIABLE, SECTIONS
from .trials import END_SECONDS, LOG, Render, Trial, litter, shows_traceback

PACK = Path(__file__).resolve().parents[2]
HOST_LOG, LISTENS = "comfyui.txt", "To see the GUI go to"
START_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Host:
    """A ComfyUI that computes on the CPU.

    comfyui: its checkout, whose requirements this Python has.
    base: the folder for what it keeps, into which this pack is linked.
    port: where it listens, on this machine alone.
    """

    comfyui: Path
    base: Path
    port: int = 8179

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """The command line."""
        options = ["--cpu", "--port", str(self.port), "--disable-api-nodes"]
        places = ["--base-directory", str(self.base), "--database-url", f"sqlite:///{self.base / 'user.db'}"]
        return [sys.executable, "main.py", *options, *places]

    @contextmanager
    def started(self, out: Path) -> Iterator[subprocess.Popen[bytes]]:
        """The process, which listens and keeps its sections below `out`; it is ended with the block.

        Raises RuntimeError where it does not come to listen.
        """
        for folder in ("custom_nodes", "input", "user"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            (self.base / "custom_nodes" / "framepack-transitions").symlink_to(PACK, target_is_directory=True)
        log = out / HOST_LOG
        surroundings = {**os.environ, FOLDER_VARIABLE: str((out / SECTIONS).absolute())}
        with log.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                self.command(), cwd=self.comfyui, env=surroundings, stdout=stream, stderr=stream
            )
        try:
            _wait_until_it_listens(process, log)
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            process.kill()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while LISTENS not in log.read_text(encoding="utf-8", errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the ComfyUI did not start: see {log}")
        time.sleep(0.5)


@dataclass(frozen=True)
class HostTrials:
    """Starts of a render on a ComfyUI that is killed in its middle."""

    host: Host

    def start(self, render: Render, seconds: float | None, signal: Signals) -> Trial:
        """Start a render, stop the ComfyUI after `seconds` if it has not ended by then, and start that one again.

        The render goes on by itself, and is waited for.
        """
        render.out.mkdir(parents=True, exist_ok=True)
        before: set[str] = set()
        left: set[str] = set()
        stopped = False
        took = 0.0
        with (render.out / LOG).open("w", encoding="utf-8") as log:
            with self.host.started(render.out) as comfyui:
                began = time.monotonic()
                process = subprocess.Popen(render.command(), stdout=subprocess.DEVNULL, stderr=log)
                try:
                    process.wait(seconds)
                    took = time.monotonic() - began
                except subprocess.TimeoutExpired:
                    stopped, before = True, render.whole_records()
                    comfyui.send_signal(signal)
                    comfyui.wait(END_SECONDS)
                    left = render.whole_records()
            code = self._waited_for(render, process)
        return Trial(
            signal=f"server {signal.name}" if stopped else "",
            seconds=round(seconds if stopped and seconds is not None else took, 2),
            code=code,
            found=len(before),
            left=len(left),
            lost=len(before - left),
            litter=litter(render.out),
            traceback=shows_traceback(render),
        )

    def _waited_for(self, render: Render, process: subprocess.Popen[bytes]) -> int:
        """The exit code of a render, which goes on with the ComfyUI that is started again."""
        try:
            if process.poll() is None:
                with self.host.started(render.out):
                    process.wait(START_SECONDS)
            return process.wait()
        finally:
            process.kill()
            process.wait()
