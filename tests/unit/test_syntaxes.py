"""The table of notations for prompts over time: what is listed there is offered, recognised, read and explained."""

from __future__ import annotations

import json
from pathlib import Path

import framepack_transitions
import pytest
from framepack_transitions.nodes.timeline.prompt_timeline import FramePackPromptTimeline
from framepack_transitions.samplers.timeline.syntaxes import table
from framepack_transitions.samplers.timeline.syntaxes.spans import PlacedSpan, PromptSpan
from framepack_transitions.samplers.timeline.syntaxes.table import (
    AUTO,
    SYNTAXES,
    Syntax,
    detect_syntax,
    parse,
)

ROOT = Path(framepack_transitions.__file__).resolve().parent
HELP_PAGES = ("web/docs/FramePackPromptTimeline.md", "web/docs/FramePackPromptTimeline/ja.md")
HOW_MANY_PROMPTS = {
    "brackets": 3,
    "script": 3,
    "keyframes": 3,
    "sections": 4,
    "times": 3,
    "bars": 3,
    "lines": 3,
}

each_syntax = pytest.mark.parametrize("name", SYNTAXES)


def combo() -> tuple[list[str], dict[str, str]]:
    return FramePackPromptTimeline.INPUT_TYPES()["required"]["syntax"]


@each_syntax
def test_an_example_is_recognised_and_read(name: str) -> None:
    example = SYNTAXES[name].example
    assert detect_syntax(example) == name
    spans = parse(example, sections=6)
    assert len(spans) == HOW_MANY_PROMPTS.get(name), (
        "say in HOW_MANY_PROMPTS how many prompts the example has"
    )
    assert spans == parse(example, name, sections=6)


@each_syntax
def test_the_node_offers_a_syntax_and_its_tooltip_explains_it(name: str) -> None:
    choices, options = combo()
    assert name in choices
    assert name in options["tooltip"], "explain the syntax in the tooltip, nodes/timeline/prompt_timeline.py"
    japanese = json.loads((ROOT / "locales/ja/nodeDefs.json").read_text(encoding="utf-8"))
    tooltip = japanese["FramePackPromptTimeline"]["inputs"]["syntax"]["tooltip"]
    assert name in tooltip, "explain the syntax in the tooltip, locales/ja/nodeDefs.json"


def test_the_node_recognises_the_syntax_by_default() -> None:
    choices, options = combo()
    assert choices == [AUTO, *SYNTAXES] and options["default"] == AUTO


@pytest.mark.parametrize("page", HELP_PAGES)
@each_syntax
def test_the_help_pages_explain_a_syntax_with_its_example(name: str, page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"**{name}**" in text, f"explain the syntax in {page}"
    assert f"```text\n{SYNTAXES[name].example}\n```" in text, f"show the example in {page}"


@each_syntax
def test_the_migration_page_says_where_a_syntax_comes_from(name: str) -> None:
    text = (ROOT / "docs/MIGRATION.md").read_text(encoding="utf-8")
    section = text.split("## Prompts over time")[1].split("\n## ")[0]
    assert f"`{name}`" in section, "add a row to the table under 'Prompts over time' in docs/MIGRATION.md"


def test_a_syntax_that_is_added_to_the_table_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    arrows = Syntax(
        looks_like=lambda text: ">>" in text,
        read=lambda text, length: [
            PlacedSpan(0, PromptSpan(float(i), part.strip())) for i, part in enumerate(text.split(">>"))
        ],
        example="a >> b",
    )
    monkeypatch.setattr(table, "SYNTAXES", {"arrows": arrows, **SYNTAXES})
    assert parse("a >> b") == [PromptSpan(0.0, "a"), PromptSpan(1.0, "b")]


def test_a_syntax_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="'arrows'; choose one of auto, script, keyframes"):
        parse("a >> b", "arrows")
