"""What a release is published with: the versions agree, and what only its publisher knows is open as a whole or filled in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import framepack_transitions
import pytest

ROOT = Path(framepack_transitions.__file__).resolve().parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read pyproject.toml by itself")
    found: dict[str, Any] = tomllib.loads(read("pyproject.toml"))
    return found


def test_the_changelog_begins_with_the_version(project: dict[str, Any]) -> None:
    newest = next(line for line in read("CHANGELOG.md").splitlines() if line.startswith("## "))
    assert project["project"]["version"] in newest


def test_the_registry_finds_what_it_asks_for(project: dict[str, Any]) -> None:
    comfy, urls = project["tool"]["comfy"], project["project"]["urls"]
    assert comfy["DisplayName"] and comfy["requires-comfyui"] == ">=0.3.64"
    assert (ROOT / comfy["Icon"].partition("/main/")[2]).is_file()
    for url in (urls["Documentation"], urls["Changelog"]):
        assert (ROOT / url.partition("/main/")[2]).is_file()
    assert len({url.partition("/blob/")[0].removesuffix("/issues") for url in urls.values()}) == 1


def test_the_publishers_names_are_all_open_or_all_filled_in(project: dict[str, Any]) -> None:
    addresses = [*project["project"]["urls"].values(), project["tool"]["comfy"]["Icon"]]
    open_places = {
        *("OWNER" in address for address in addresses),
        *("<address of this repository>" in read(page) for page in ("README.md", "CONTRIBUTING.md")),
        "<このリポジトリのアドレス>" in read("README.ja.md"),
        not project["tool"]["comfy"]["PublisherId"],
    }
    assert len(open_places) == 1, "see Releases in CONTRIBUTING.md"


def test_the_recipe_of_a_release_names_every_open_place() -> None:
    recipe = re.split(r"^## Releases$", read("CONTRIBUTING.md"), flags=re.MULTILINE)[1]
    for place in ("OWNER", "PublisherId", "README.md", "README.ja.md", "pyproject.toml", "CHANGELOG.md"):
        assert place in recipe
