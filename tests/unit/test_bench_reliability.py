"""`bench reliability`: what counts as lost or left over, and a short run of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.reliability import bench as reliability
from framepack_transitions.benchmarks.reliability import interrupts, trials
from framepack_transitions.benchmarks.reliability.host import Host, HostTrials
from framepack_transitions.benchmarks.reliability.interrupts import InterruptTrials, resident_bytes
from framepack_transitions.benchmarks.reliability.summary import facts, table
from framepack_transitions.benchmarks.reliability.trials import Render, Trial, litter
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands import bench as command
from framepack_transitions.headless.running.server import Server
from framepack_transitions.samplers.store.digest import digest
from framepack_transitions.samplers.store.record import Record

RENDER = Render(workflow=Path("flow.json"), settings=("Sampler.steps=1",), out=Path("out"))
TRIAL = Trial(signal="SIGTERM", seconds=1.0, code=143, found=2, left=2, lost=0, litter=(), traceback=False)


def finished(out: Path, *, video: bytes = b"video", latents: float = 0.0, prompt: str = "a") -> Render:
    """A render as a run leaves it, with one record."""
    render = replace(RENDER, out=out)
    with render.records.job() as store:
        store.put(digest(1), Record(tensors={"latents": torch.full((2,), latents)}))
    trace = {
        "sections": [{"prompt": prompt, "seconds": latents, "reused": bool(latents)}],
        "notices": [str(out)],
    }
    report = {"videos": [{"path": "v.mp4"}], "traces": [{"trace": trace}]}
    (out / "report.json").write_text(json.dumps(report))
    (out / "v.mp4").write_bytes(video)
    return render


def test_renders_are_compared_by_records_trace_and_file(tmp_path: Path) -> None:
    one = finished(tmp_path / "one")
    assert reliability.differences(finished(tmp_path / "two"), one) == []
    assert reliability.differences(finished(tmp_path / "video", video=b"other"), one) == ["the file differs"]
    assert reliability.differences(finished(tmp_path / "trace", prompt="b"), one) == ["the trace differs"]
    other = finished(tmp_path / "latents", latents=1.0)
    assert reliability.differences(other, one) == ["1 of 1 records differ"]
    next((tmp_path / "two" / "sections").glob("*.safetensors")).unlink()
    assert reliability.differences(replace(RENDER, out=tmp_path / "two"), one) == ["1 of 1 records differ"]


def test_windows_processes_get_the_one_signal_that_can_be_sent_there() -> None:
    """Python's documentation of Popen.send_signal: SIGTERM is terminate(), and others cannot be sent to a process."""
    assert reliability.signals_of("win32") == (signal.SIGTERM,)
    assert reliability.signals_of("linux") == (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def test_what_nobody_will_read_is_litter(tmp_path: Path) -> None:
    render = finished(tmp_path)
    assert litter(render.out) == []
    for name in (".v.part.mp4", "sections/jobs/abc", f"sections/{'0' * 32}.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "empty.mp4").touch()
    assert len(litter(render.out)) == 4


def test_faults_are_told_in_words() -> None:
    assert TRIAL.faults() == [] and not TRIAL.finished
    bad = replace(TRIAL, lost=1, litter=("v.part",), traceback=True)
    found = reliability.Found(trials=[TRIAL, bad], renders={"render_001": ["the file differs"]}, seconds=8.0)
    assert found.faults() == [
        "SIGTERM: 1 finished records lost",
        "SIGTERM: left over: v.part",
        "SIGTERM: a traceback",
        "render_001: the file differs",
    ]
    assert "2 stops (2 SIGTERM)" in table(found) and "1 finished records were lost, 4 things" in table(found)


def test_what_an_earlier_run_has_finished_is_not_taken_over(tmp_path: Path) -> None:
    alone = finished(tmp_path / "undisturbed")
    with pytest.raises(RuntimeError, match="holds an earlier run; name another folder"):
        reliability.run(reliability.Reliability(render=alone, kills=1))


def test_moments_follow_what_a_whole_render_takes_now(tmp_path: Path) -> None:
    """Where others use the machine too, the first render may have taken much longer than the later ones."""
    given: list[float] = []

    def start(render: Render, seconds: float | None, signal: signal.Signals) -> Trial:
        finished(render.out)
        if seconds is not None:
            given.append(seconds)
        fast = render.out.name != "undisturbed"
        ended = replace(TRIAL, signal="", code=0, found=0, seconds=1.0 if fast else 100.0)
        return replace(ended, signal="SIGTERM") if seconds is not None and seconds < 1 else ended

    render = Quick(workflow=RENDER.workflow, settings=(), out=tmp_path / "undisturbed")
    found = reliability.run(reliability.Reliability(render=render, kills=3, start=start))
    assert given[0] > 1 and all(seconds <= 1 for seconds in given[1:])
    assert (found.seconds, found.whole, found.kills) == (100.0, 1.0, 3)


@dataclass(frozen=True, kw_only=True)
class Quick(Render):
    """A render whose command is loaded at once."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", ""]


# Ignores what it is told, once it says so.
DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


@dataclass(frozen=True, kw_only=True)
class Deaf(Render):
    """A render that does not end."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", DEAF, str(self.workflow)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_render_that_does_not_end_when_it_is_told_to_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "END_SECONDS", 0.2)
    render = Deaf(workflow=tmp_path / "ignores", settings=(), out=tmp_path / "out")

    class Popen(subprocess.Popen):  # type: ignore[type-arg]
        def wait(self, timeout: float | None = None) -> int:
            while not render.workflow.exists():
                time.sleep(0.02)
            return super().wait(timeout)

    monkeypatch.setattr(trials.subprocess, "Popen", Popen)
    trial = trials.start(render, 0.1, signal.SIGTERM)
    assert trial.late and trial.code == -signal.SIGKILL
    assert trial.faults() == ["it did not end within 0.2 s"]


# Stands for ComfyUI: says that it listens, notes where it keeps sections, and goes on until it is ended.
STAND_IN = """
import os, pathlib, time
with open(pathlib.Path(__file__).with_name("starts.txt"), "a") as starts:
    print(os.environ["FRAMEPACK_SECTIONS"], file=starts)
print("To see the GUI go to: http://127.0.0.1:8179", flush=True)
time.sleep(60)
"""
# Stands for the render: it ends by itself when the server has been started twice.
WAITS = """
import pathlib, sys, time
while len(pathlib.Path(sys.argv[1]).read_text().splitlines()) < int(sys.argv[2]):
    time.sleep(0.02)
"""


@dataclass(frozen=True, kw_only=True)
class Waiting(Render):
    """A render that ends when the server has been started so often."""

    starts: int

    def command(self) -> list[str]:
        return [sys.executable, "-c", WAITS, str(self.workflow), str(self.starts)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("starts", "seconds", "name"), [(2, 0.1, "server SIGKILL"), (1, None, "")])
def test_a_server_that_is_killed_is_started_again_and_the_render_goes_on(
    tmp_path: Path, starts: int, seconds: float | None, name: str
) -> None:
    (tmp_path / "main.py").write_text(STAND_IN)
    noted = tmp_path / "starts.txt"
    render = Waiting(workflow=noted, settings=(), out=tmp_path / "out", starts=starts)
    trial = HostTrials(Host(comfyui=tmp_path, base=tmp_path / "base")).start(render, seconds, signal.SIGKILL)
    assert (trial.signal, trial.code, trial.lost, trial.faults()) == (name, 0, 0, [])
    assert noted.read_text().splitlines() == [str(tmp_path / "out" / "sections")] * starts
    assert (tmp_path / "base" / "custom_nodes" / "framepack-transitions" / "__init__.py").is_file()


def test_a_server_that_does_not_start_is_said(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("raise SystemExit(1)")
    render = replace(RENDER, out=tmp_path / "out")
    with pytest.raises(RuntimeError, match="the ComfyUI did not start: see .*comfyui.txt"):
        HostTrials(Host(comfyui=tmp_path, base=tmp_path / "base")).start(render, 1, signal.SIGTERM)


def test_a_render_on_a_server_is_queued_there() -> None:
    assert replace(RENDER, server="http://x:1").command()[-2:] == ["--server", "http://x:1"]
    assert "--server" not in RENDER.command()


# Stands for a render that ends badly when it is interrupted.
STOPPED = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
sys.exit(int(sys.argv[2]))
"""


@dataclass(frozen=True, kw_only=True)
class Stoppable(Render):
    """A render that ends with this code as soon as its workflow's file is there."""

    code: int

    def command(self) -> list[str]:
        return [sys.executable, "-c", STOPPED, str(self.workflow), str(self.code)]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "SETTLED_SECONDS", 0)


@dataclass(frozen=True)
class FakeComfyUI:
    """Interrupts by making a file; notes what it is told."""

    file: Path
    told: list[str]

    def interrupt(self) -> None:
        self.told.append("interrupt")
        self.file.touch()

    def forget(self) -> None:
        self.told.append("forget")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_one_comfyui_is_told_to_interrupt_and_its_memory_is_looked_at(tmp_path: Path) -> None:
    comfyui = FakeComfyUI(tmp_path / "stop", [])
    interrupted = InterruptTrials(comfyui=comfyui, process=os.getpid(), sections=tmp_path / "sections")
    render = Stoppable(workflow=comfyui.file, settings=(), out=tmp_path / "one", code=1)
    trial = interrupted.start(render, 0.1, signal.SIGTERM)
    assert (trial.signal, trial.code, trial.faults(), trial.finished) == ("interrupt", 1, [], False)
    assert trial.memory == resident_bytes(os.getpid()) or trial.memory is None or trial.memory > 2**20
    goes_on = interrupted.start(replace(render, code=0), None, signal.SIGTERM)
    assert (goes_on.signal, goes_on.finished) == ("", True), "nothing was interrupted"
    assert (tmp_path / "sections").resolve() == tmp_path / "one" / "sections"
    interrupted.start(replace(render, out=tmp_path / "two"), None, signal.SIGTERM)
    assert (tmp_path / "sections").resolve() == tmp_path / "two" / "sections"
    assert comfyui.told == ["forget", "interrupt", "forget"], "each render begins with empty caches"


def test_a_render_that_fails_by_itself_was_not_interrupted(tmp_path: Path) -> None:
    comfyui = FakeComfyUI(tmp_path / "stop", [])
    comfyui.file.touch()
    interrupted = InterruptTrials(comfyui=comfyui, process=os.getpid(), sections=tmp_path / "sections")
    render = Stoppable(workflow=comfyui.file, settings=(), out=tmp_path / "one", code=1)
    trial = interrupted.start(render, 60, signal.SIGTERM)
    assert (trial.signal, trial.finished) == ("", False) and comfyui.told == ["forget"]


def test_an_interrupt_that_came_too_late_does_not_count(tmp_path: Path) -> None:
    comfyui = FakeComfyUI(tmp_path / "stop", [])
    interrupted = InterruptTrials(comfyui=comfyui, process=os.getpid(), sections=tmp_path / "sections")
    render = Stoppable(workflow=comfyui.file, settings=(), out=tmp_path / "one", code=0)
    trial = interrupted.start(render, 0.1, signal.SIGTERM)
    assert (trial.signal, trial.finished) == ("", True) and comfyui.told == ["forget", "interrupt"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system has no /proc")
def test_the_memory_of_a_process_is_what_the_system_says() -> None:
    held = np.ones(2**25)  # 256 MiB
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    found = resident_bytes(os.getpid())
    assert found is not None and abs(found - pages * os.sysconf("SC_PAGE_SIZE")) < held.nbytes / 4
    assert resident_bytes(2**30) is None


def test_memory_that_grows_is_a_fault() -> None:
    def found(*memory: int | None) -> reliability.Found:
        trials = [replace(TRIAL, signal="interrupt", memory=value) for value in memory]
        return reliability.Found(trials=trials, renders={"render_001": []}, seconds=8.0)

    flat = found(*[1_080_000_000, 1_074_000_000, 1_096_000_000, 1_081_000_000] * 2)
    assert flat.memory == (1_077_000_000, 1_088_500_000) and flat.faults() == []
    words = (
        "After each start the ComfyUI took 1074 to 1096 MB; as a rule 1077 MB in the first quarter and 1088"
    )
    assert "8 stops (8 interrupt)" in table(flat) and words in table(flat)
    growing = found(1000, 1000, 1020, 1030, 1050, 1050, 1051, 1051)
    assert growing.faults() == ["the memory has grown from 1,000 to 1,051 bytes"]
    assert found(*[None] * 8).memory is None is facts(found(1000, 9000))["memory"], "too few to say"


def test_the_client_interrupts_whatever_runs_and_empties_caches(fake_comfy: ModuleType) -> None:
    with fake_comfy.serving(b"") as comfy:
        Server(comfy.url).interrupt()
        Server(comfy.url).forget()
    assert comfy.posts == [("/interrupt", {}), ("/free", {"free_memory": True})]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kills", "0"], "Kills is 0; give at least 1"),
        (["--interrupts", "0", "--comfyui", "x"], "Interrupts is 0; give at least 1"),
        (["--interrupts", "3"], "--interrupts needs --comfyui"),
        (["--interrupts", "3", "--kills", "3"], "give --kills or --interrupts"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["bench", "reliability", *options, "--out", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_short_run_finds_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_page: ModuleType
) -> None:
    monkeypatch.setattr(command, "RENDER_SETTINGS", ("Sampler.seconds=3.6", "Sampler.steps=2"))
    assert main(["bench", "reliability", "--kills", "3", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert sum(report["kills"].values()) == 3 and report["faults"] == []
    report_page.check(report, "reliability")
