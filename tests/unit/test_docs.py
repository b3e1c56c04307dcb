"""The pages lead where they say: links, headings, files that they name, and commands that they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import framepack_transitions
import pytest
from framepack_transitions.headless import arguments

ROOT = Path(framepack_transitions.__file__).resolve().parent
PAGES = sorted(
    page.relative_to(ROOT).as_posix() for pattern in ("*.md", "docs/**/*.md") for page in ROOT.glob(pattern)
)
# A file that a page names in backticks: a path below one of the checkout's folders.
FOLDERS = (
    "benchmarks|docs|example_workflows|headless|locales|metrics|models|nodes|samplers|tests|tiny|video|web"
)
FILE = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")
COMMAND = re.compile(r"^(?:framepack-transitions|python -m framepack_transitions) .*$", re.MULTILINE)


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _prose(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def _anchor(heading: str) -> str:
    """The anchor that a Markdown renderer makes of a heading."""
    words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower())
    return words.replace(" ", "-")


def _anchors(text: str) -> set[str]:
    return {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", _prose(text), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(_text(page))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {path}, which does not exist"
        if anchor:
            headings = _anchors(target.read_text(encoding="utf-8"))
            assert anchor in headings, f"{page} links to #{anchor}; {target.name} has {sorted(headings)}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    missing = [name for name in FILE.findall(_text(page)) if not (ROOT / name).exists()]
    assert not missing, f"{page} names {missing}, which do not exist: name where they are now"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_shows_are_understood(page: str) -> None:
    parser = arguments.parser()
    for line in COMMAND.findall(_text(page).replace("\\\n", "")):
        words = shlex.split(line, comments=True)
        parser.parse_args(words[1:] if words[0] == "framepack-transitions" else words[3:])
