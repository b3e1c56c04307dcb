"""Nothing outside the tests needs POSIX: Windows and macOS run the same code."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import framepack_transitions
import pytest
from framepack_transitions.benchmarks.transition.running.tasks import available_cores
from framepack_transitions.headless.running.report import Record

ROOT = Path(framepack_transitions.__file__).resolve().parent
ROOMS = [package.parent for package in ROOT.glob("*/__init__.py")]
SOURCES = sorted([*ROOT.glob("*.py"), *(source for room in ROOMS for source in room.rglob("*.py"))])
# From the "Availability: Unix" notes of Python's documentation.
UNIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty", "curses", "syslog"}
UNIX_NAMES = {
    "os": {
        "chown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getuid", "killpg",
        "mkfifo", "nice", "posix_fadvise", "posix_fallocate", "sched_setaffinity", "setpgid", "setsid", "statvfs",
        "uname", "wait", "WNOHANG",
    },
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause"},
}  # fmt: skip
NAMED_ENCODING = {"read_text", "write_text"}
TEXT_MODE = re.compile(r"[rwax]\+?t?")


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Every call of a method or of something in a module, by its last name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(node.func.attr, node) for node in found if isinstance(node.func, ast.Attribute)]


def is_text(name: str, call: ast.Call) -> bool:
    """Whether a call opens a file for text, as path.open("w") does."""
    mode = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else ""
    return name == "open" and bool(TEXT_MODE.fullmatch(str(mode)))


# What these do only on Unix stands beside what they do on Windows, by the system's name.
FOR_BOTH = {"samplers/store/jobs.py": ["fcntl"]}


def faults(tree: ast.AST) -> list[str]:
    """What a file asks for that only Unix has, or that depends on the system's encoding."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in UNIX_MODULES]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [str(node.module)] if str(node.module).partition(".")[0] in UNIX_MODULES else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [node.attr] if node.attr in UNIX_NAMES.get(node.value.id, ()) else []
    for name, call in calls(tree):
        if name == "get_context" and [ast.literal_eval(argument) for argument in call.args] != ["spawn"]:
            found.append("a context of processes that is not spawn, as Windows cannot fork")
        if name == "rename" and len(call.args) == 1:
            found.append("rename, which refuses an existing file on Windows; use replace")
        if (name in NAMED_ENCODING or is_text(name, call)) and "encoding" not in {
            keyword.arg for keyword in call.keywords
        }:
            found.append(f"{name} without encoding, which differs on Windows")
    return found


def test_nothing_is_asked_for_that_only_unix_has() -> None:
    assert len(SOURCES) > 200
    wrong = {
        source.relative_to(ROOT).as_posix(): found
        for source in SOURCES
        if (found := faults(ast.parse(source.read_text(encoding="utf-8"))))
    }
    assert wrong == FOR_BOTH


# Where models are computed with, float64 is for what stays on the CPU: Apple's GPUs have none.
FLOAT64 = {
    "models/plain.py",  # of weights that are stored so
    "samplers/context/concepts.py",
    "samplers/sigmas.py",
    "samplers/techniques/schedule/transition_sigmas.py",
}


def is_float64(node: ast.AST) -> bool:
    """Whether a piece of source is the attribute torch.float64, or .double of a tensor."""
    return isinstance(node, ast.Attribute) and (
        node.attr == "double" or ast.unparse(node) in {"torch.float64", "torch.double"}
    )


def test_float64_is_asked_for_where_it_stays_on_the_cpu() -> None:
    sources = [source for room in ("models", "samplers", "nodes") for source in (ROOT / room).rglob("*.py")]
    wide = {
        source.relative_to(ROOT).as_posix()
        for source in sources
        if any(map(is_float64, ast.walk(ast.parse(source.read_text(encoding="utf-8")))))
    }
    assert wide == FLOAT64


def test_what_only_unix_has_is_found() -> None:
    text = "import fcntl\nos.fork()\nmultiprocessing.get_context('fork')\npath.rename(other)\npath.read_text()\nsignal.SIGKILL\npath.open('a')"
    assert len(faults(ast.parse(text))) == 7


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores() == 6


def test_a_report_names_a_file_on_another_drive_in_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def relpath(path: Path, start: Path) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert Record(tmp_path).relative(tmp_path / "a.mp4") == (tmp_path / "a.mp4").resolve().as_posix()


def test_a_terminal_that_cannot_show_a_letter_ends_no_run(tmp_path: Path) -> None:
    """Windows' pipes take the letters of one country only."""
    old = ROOT / "example_workflows/api/tiny_f1.json"
    workflow = tmp_path / "夜.json"
    workflow.write_text(
        old.read_text(encoding="utf-8").replace("FramePackTransitionsSampler", "FramePackSampler"),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "framepack_transitions", "convert", str(workflow)]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    result = subprocess.run(command, env=environment, capture_output=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert rb"\u591c" in result.stdout
