"""The wheel: it is built from the checkout, carries everything that is used at run time, and runs an example."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import framepack_transitions
import pytest

ROOT = Path(framepack_transitions.__file__).resolve().parent
# Folders whose files are read at run time.
DATA = (
    "benchmarks/rating/shipped",
    "benchmarks/suites/shipped",
    "example_workflows",
    "locales",
    "subgraphs",
    "tiny/weights",
    "web/docs",
)
NOT_SOURCE = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "*output", "tests")


def data_files() -> set[str]:
    files = (path for folder in DATA for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files}


def run_python(*arguments: str | Path, cwd: Path, **environment: str) -> str:
    """What a new Python process prints; its error output is part of the failure."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH that holds what a wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "checkout", ignore=NOT_SOURCE)
    pip = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    run_python(*pip, "--wheel-dir", "wheels", "./checkout", cwd=folder)
    (wheel,) = (folder / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_carries_every_data_file(installed: Path) -> None:
    package = installed / "framepack_transitions"
    missing = [name for name in sorted(data_files()) if not (package / name).is_file()]
    assert not missing, "add them to package-data in pyproject.toml"
    assert not (package / "tests").exists()


@pytest.mark.slow
def test_an_example_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    package = installed / "framepack_transitions"
    where = "import framepack_transitions as pack; print(pack.__file__)"
    loaded = run_python("-c", where, cwd=tmp_path, PYTHONPATH=str(installed)).strip()
    assert Path(loaded) == package / "__init__.py"

    example = package / "example_workflows" / "api" / "tiny_f1.json"
    command = ("-m", "framepack_transitions", "run", example, "--set", "Sampler.steps=2", "--out", "out")
    run_python(*command, cwd=tmp_path, PYTHONPATH=str(installed))

    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    (video,) = report["videos"]
    assert video["frames"] == 109, "a start frame and three sections of 36 frames"
    assert (tmp_path / "out" / video["path"]).stat().st_size > 1000


def test_git_ignores_no_data_file() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no git checkout")
    command = ["git", "-C", str(ROOT), "check-ignore", "--no-index", "--stdin"]
    names = "\n".join(data_files())
    ignored = subprocess.run(command, input=names, capture_output=True, text=True, check=False)
    assert ignored.returncode in (0, 1), ignored.stderr
    assert not ignored.stdout, "except these files in .gitignore, or they are never committed"
