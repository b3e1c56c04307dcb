"""The pages lead where they say: links, headings, files that they name, and commands that they show."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace

import framepack_transitions
import numpy as np
import pytest
import torch
from framepack_transitions.headless import arguments
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.plan import plan_sections

ROOT = Path(framepack_transitions.__file__).resolve().parent
PAGES = sorted(
    page.relative_to(ROOT).as_posix() for pattern in ("*.md", "docs/**/*.md") for page in ROOT.glob(pattern)
)
# Which studies write a key of report.json, as the pages' rows say.
STUDIES = re.compile(r"^\| `(\w+)` \|[^|]*\bstudy \(([\w, ]+)\)", re.MULTILINE)
# A file that a page names in backticks: a path below one of the checkout's folders.
FOLDERS = "benchmarks|docs|example_workflows|headless|locales|metrics|models|nodes|samplers|tests|tiny|training|video|web"
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
def test_names_that_a_page_places_in_a_file_stand_there(page: str) -> None:
    pairs = re.findall(r"`([\w.]+)(?:\([^`]*\))?`\s+(?:in\s+|\()`([\w/]+\.py)`", _text(page))
    missing = [f"{name} in {path}" for name, path in pairs if name.split(".")[-1] not in _text(path)]
    assert not missing, f"{page} names {missing}: say where they are now"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_shows_are_understood(page: str) -> None:
    parser = arguments.parser()
    for line in COMMAND.findall(_text(page).replace("\\\n", "")):
        words = shlex.split(line, comments=True)
        parser.parse_args(words[1:] if words[0] == "framepack-transitions" else words[3:])


def _example(monkeypatch: pytest.MonkeyPatch, first_words: str, package: str) -> ModuleType:
    """The module that a code block of CONTRIBUTING shows, as a file of `package`."""
    blocks = re.findall(r"   ```python\n(.*?)\n   ```", _text("CONTRIBUTING.md"), re.DOTALL)
    code = next(block for block in blocks if first_words in block)
    module = ModuleType("contributing_example")
    module.__package__ = f"framepack_transitions.{package}"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(re.sub(r"^   ", "", code, flags=re.MULTILINE), module.__dict__)
    return module


def test_both_languages_name_the_same_studies_beside_a_key_of_the_report() -> None:
    english, japanese = (STUDIES.findall(_text(page)) for page in ("docs/REPORT.md", "docs/ja/REPORT.md"))
    assert len(english) > 10 and sorted(english) == sorted(japanese)


def test_the_technique_in_contributing_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    example = _example(monkeypatch, "History dimming", "samplers.techniques.context")
    section = plan_sections("f1", 1, 9)[0].with_prompt(None)
    ones = {name: torch.ones(1, 16, 2, 4, 4) for name in ("clean", "clean_2x", "clean_4x")}
    context = Context(indices=section.indices, **ones)
    technique = example.HistoryDim(strength=0.25, apply_to="all")
    dimmed = technique.context(section, context, {})
    assert dimmed.clean is context.clean
    assert dimmed.clean_2x.unique().tolist() == dimmed.clean_4x.unique().tolist() == [0.75]
    assert example.HistoryDim(strength=0.0, apply_to="all").context(section, context, {}) is context
    assert {field.name for field in fields(technique)} == {
        "apply_to",
        "sections",
        "section_decay",
        "strength",
    }
    with pytest.raises(ValueError, match="strength is 2"):
        example.HistoryDim(strength=2.0)


def test_the_metric_in_contributing_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    example = _example(monkeypatch, "Darkening", "metrics.definitions")
    measured = SimpleNamespace(brightness=np.array([0.75, 0.75, 0.5, 0.25]))
    windows = SimpleNamespace(before=(0, 2), settled=(3, 4))
    found = example.score_dark(SimpleNamespace(measured=measured, windows=windows))
    assert found.value == pytest.approx(0.5)
