"""What every node must say about itself, and that translations, help pages and example workflows follow the nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import framepack_transitions
import pytest
from framepack_transitions.nodes.locales import ENGLISH, english_file

ROOT = Path(framepack_transitions.__file__).resolve().parent
LANGUAGES = ("en", "ja")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
NODES: dict[str, type] = framepack_transitions.NODE_CLASS_MAPPINGS

# Nodes


def _inputs(node: type) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name to (type, options) of the inputs that a user sees, in the order of the interface."""
    declared = node.INPUT_TYPES()
    merged = {**declared.get("required", {}), **declared.get("optional", {})}
    return {name: (spec[0], spec[1] if len(spec) > 1 else {}) for name, spec in merged.items()}


def _widgets(node: type) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The inputs that are typed or chosen in the node itself."""
    return {
        name: (kind, options)
        for name, (kind, options) in _inputs(node).items()
        if (isinstance(kind, (list, tuple)) or kind in WIDGETS) and not options.get("forceInput")
    }


def _locale(language: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("node_id", NODES)
def test_a_node_explains_itself(node_id: str) -> None:
    node = NODES[node_id]
    assert node_id.startswith("FramePack")
    assert node_id in framepack_transitions.NODE_DISPLAY_NAME_MAPPINGS
    assert node.CATEGORY.split("/")[0] == "FramePack"
    assert node.DESCRIPTION.strip()
    assert callable(getattr(node, node.FUNCTION))
    names = getattr(node, "RETURN_NAMES", node.RETURN_TYPES)
    assert len(names) == len(node.RETURN_TYPES) == len(node.OUTPUT_TOOLTIPS)
    assert all(tooltip.strip() for tooltip in node.OUTPUT_TOOLTIPS)
    assert not [name for name, (_, options) in _inputs(node).items() if not options.get("tooltip")]


@pytest.mark.parametrize("node_id", NODES)
def test_a_node_has_help_pages_that_name_every_input(node_id: str) -> None:
    pages = [ROOT / "web" / "docs" / f"{node_id}.md"]
    pages += [ROOT / "web" / "docs" / node_id / f"{language}.md" for language in LANGUAGES[1:]]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not [name for name in _inputs(NODES[node_id]) if f"`{name}`" not in text], page


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", NODES)
def test_a_node_is_translated_input_by_input(node_id: str, language: str) -> None:
    node, entry = NODES[node_id], _locale(language).get(node_id, {})
    assert entry, f"translate the node in locales/{language}/nodeDefs.json"
    assert entry["display_name"].strip() and entry["description"].strip()
    assert set(entry["inputs"]) == set(_inputs(node))
    assert all(texts.get("name") and texts.get("tooltip") for texts in entry["inputs"].values())
    assert set(entry["outputs"]) == {str(index) for index in range(len(node.RETURN_TYPES))}


def test_the_english_locale_is_generated_from_the_nodes() -> None:
    written = ENGLISH.read_text(encoding="utf-8")
    assert written == english_file(), "run python -m framepack_transitions.nodes.locales"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for child in value.values() if isinstance(value, dict) else ():
        yield from _texts(child)


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_the_folders_of_the_nodes_are_translated(language: str) -> None:
    texts = json.loads((ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))
    folders = {word for node in NODES.values() for word in node.CATEGORY.split("/")} - {"FramePack"}
    assert list(texts) == ["nodeCategories"]
    assert list(texts["nodeCategories"]) == sorted(folders) and all(texts["nodeCategories"].values())


def test_the_nodes_that_show_scores_are_those_with_a_plot() -> None:
    """The script that shows the texts in the nodes goes by the plot: the editor translates categories."""
    plots = {name for name, node in NODES.items() if "plot" in getattr(node, "RETURN_NAMES", ())}
    assert plots == {name for name, node in NODES.items() if node.CATEGORY.endswith("/Evaluation")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_locales_hold_only_existing_nodes_and_plain_messages(language: str) -> None:
    locale = _locale(language)
    assert set(locale) == set(NODES)
    # The interface compiles these texts: { } @ | would mean placeholders, links and plurals.
    assert not [text for text in _texts(locale) if re.search(r"[{}@|]", text)]


# Example workflows


def _workflows(pattern: str) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "example_workflows").glob(pattern))]


def _value_problem(kind: Any, options: dict[str, Any], value: Any) -> str | None:
    if isinstance(kind, (list, tuple)) or kind == "COMBO":
        choices = options["options"] if kind == "COMBO" else kind
        # A list of files holds what this machine has, which is not for an example to know.
        is_file = isinstance(value, str) and value.endswith(".safetensors")
        return None if is_file or value in choices else f"{value!r} is none of {list(choices)}"
    wanted = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}[kind]
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "BOOLEAN"):
        return f"{value!r} is no {kind}"
    if kind in ("INT", "FLOAT") and not options.get("min", value) <= value <= options.get("max", value):
        return f"{value!r} is outside {options.get('min')}..{options.get('max')}"
    return None


@pytest.mark.parametrize("path", _workflows("api/*.json"))
def test_an_api_workflow_gives_its_nodes_what_they_take(path: str) -> None:
    graph = json.loads((ROOT / path).read_text(encoding="utf-8"))
    for number, step in graph.items():
        links = {name: value for name, value in step["inputs"].items() if isinstance(value, list)}
        assert all(source in graph for source, _ in links.values()), f"node {number}: broken link"
        if step["class_type"] not in NODES:
            assert not step["class_type"].startswith("FramePack"), f"node {number}: no such node"
            continue
        node = NODES[step["class_type"]]
        declared, required = _inputs(node), node.INPUT_TYPES().get("required", {})
        assert not set(step["inputs"]) - set(declared), f"node {number}: unknown inputs"
        assert not set(required) - set(step["inputs"]), f"node {number}: required inputs are missing"
        problems = [
            _value_problem(*_widgets(node)[name], value)
            for name, value in step["inputs"].items()
            if name in _widgets(node) and name not in links
        ]
        assert not [problem for problem in problems if problem], f"node {number}"


def _widget_slots(node: type) -> list[str | None]:
    """What each entry of `widgets_values` belongs to; a seed is followed by a control of the interface, None."""
    slots: list[str | None] = []
    for name, (kind, options) in _widgets(node).items():
        slots.append(name)
        if options.get("control_after_generate") or (kind == "INT" and name in ("seed", "noise_seed")):
            slots.append(None)
    return slots


@pytest.mark.parametrize("path", _workflows("*.json"))
def test_an_interface_workflow_gives_its_nodes_what_they_take(path: str) -> None:
    graph = json.loads((ROOT / path).read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link, source, slot, target, target_slot, kind in graph["links"]:
        assert link in nodes[source]["outputs"][slot]["links"], f"link {link} is unknown to its source"
        assert nodes[target]["inputs"][target_slot]["link"] == link, f"link {link} is unknown to its target"
        assert nodes[source]["outputs"][slot]["type"] == kind, f"link {link} changes its type"
    for entry in graph["nodes"]:
        if entry["type"] not in NODES:
            assert not entry["type"].startswith("FramePack"), f"node {entry['id']}: no such node"
            continue
        node = NODES[entry["type"]]
        declared, linked = _inputs(node), {slot["name"]: slot for slot in entry.get("inputs", [])}
        assert not set(linked) - set(declared), f"node {entry['id']}: unknown inputs"
        needed = set(node.INPUT_TYPES().get("required", {})) - set(_widgets(node))
        assert all(linked.get(name, {}).get("link") is not None for name in needed), f"node {entry['id']}"
        slots, values = _widget_slots(node), entry.get("widgets_values", [])
        assert len(slots) == len(values), f"node {entry['id']}: widgets are {slots}, values are {values}"
        problems = [_value_problem(*declared[name], value) for name, value in zip(slots, values) if name]
        assert not [problem for problem in problems if problem], f"node {entry['id']}"
        assert [output["type"] for output in entry["outputs"]] == list(node.RETURN_TYPES)
