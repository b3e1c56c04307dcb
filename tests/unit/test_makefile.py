"""What `make demo` says and asks of pip, read from its commands without running them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import framepack_transitions
import pytest

ROOT = Path(framepack_transitions.__file__).resolve().parent
INDEX = "https://example.org/whl/cpu"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs make as a user would, whatever the make that runs the tests was given."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "TORCH_INDEX"))
    }
    command = ["make", "-C", str(ROOT), "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=check, env=environment)


def torch_installation(commands: str) -> str:
    """The command that installs torch, on one line."""
    (found,) = re.findall(r"pip install [^;]*'torch>=[^;]*", commands.replace("\\\n", " "))
    return " ".join(found.split())


def test_torch_comes_from_the_index_that_is_named(tmp_path: Path) -> None:
    commands = make("--dry-run", f"VENV={tmp_path / 'venv'}", f"TORCH_INDEX={INDEX}").stdout
    installation = torch_installation(commands)
    assert f"--index-url '{INDEX}' --no-deps 'torch>=2.4' torchvision" in installation
    assert f"PIP_EXTRA_INDEX_URL='{INDEX}'" in commands
    rest = next(line for line in commands.splitlines() if "--editable" in line)
    assert INDEX not in rest


def test_without_an_index_pip_chooses(tmp_path: Path) -> None:
    commands = make("--dry-run", f"VENV={tmp_path / 'venv'}").stdout
    assert "index-url" not in commands.lower() and "INDEX_URL" not in commands
    assert "--no-deps" not in torch_installation(commands)


def test_pip_shows_its_progress(tmp_path: Path) -> None:
    commands = make("--dry-run", f"VENV={tmp_path / 'venv'}").stdout
    installs = [line for line in commands.splitlines() if "pip" in line]
    assert len(installs) >= 2 and not any("--quiet" in line or " -q" in line for line in installs)


def test_what_is_fetched_is_said_before(tmp_path: Path) -> None:
    bin_folder = tmp_path / "venv" / "bin"
    bin_folder.mkdir(parents=True)
    # An environment whose Python has no packages and fails to install any, saying that it was asked to.
    fake = bin_folder / "python"
    fake.write_text('#!/bin/sh\nif [ "$2" = pip ]; then echo "PIP $*"; fi\nexit 1\n', encoding="utf-8")
    fake.chmod(0o755)
    run = make(f"VENV={tmp_path / 'venv'}", check=False)
    assert run.returncode != 0
    announced, _, installed = run.stdout.partition("PIP ")
    assert re.search(r"about \d+ GB of disk", announced) and "make demo TORCH_INDEX=URL" in announced
    assert installed.startswith("-m pip install")
