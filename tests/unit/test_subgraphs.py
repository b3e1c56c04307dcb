"""The blueprints that newer hosts list: whole graphs, with the values of the examples that they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.headless.running.runs import EXAMPLES, PACK
from framepack_transitions.headless.workflows.workflow import read_json
from framepack_transitions.nodes import NODE_CLASS_MAPPINGS

OUTSIDE_INPUT, OUTSIDE_OUTPUT = -10, -20
BLUEPRINTS = {
    "FramePack image to video with a switch": "framepack_timeline",
    "FramePack A and B with scores": "framepack_ab",
}
FILES = sorted((PACK / "subgraphs").glob("*.json"))


def outer_and_inner(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The node that stands for the subgraph, and the subgraph."""
    data = read_json(path)
    (node,), (graph,) = data["nodes"], data["definitions"]["subgraphs"]
    return node, graph


def test_the_blueprints_are_there() -> None:
    assert {path.stem for path in FILES} == set(BLUEPRINTS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_blueprint_holds_what_its_example_holds(path: Path) -> None:
    _, graph = outer_and_inner(path)
    example = {
        node["id"]: node for node in read_json(PACK / EXAMPLES / f"{BLUEPRINTS[path.stem]}.json")["nodes"]
    }
    for node in graph["nodes"]:
        assert node["type"] == example[node["id"]]["type"]
        assert node.get("widgets_values") == example[node["id"]].get("widgets_values"), node["title"]
        assert not node["type"].startswith("FramePack") or node["type"] in NODE_CLASS_MAPPINGS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_link_has_two_ends_that_know_it(path: Path) -> None:
    _, graph = outer_and_inner(path)
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link in graph["links"]:
        if link["origin_id"] == OUTSIDE_INPUT:
            assert link["id"] in graph["inputs"][link["origin_slot"]]["linkIds"]
        else:
            assert link["id"] in nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
        if link["target_id"] == OUTSIDE_OUTPUT:
            assert link["id"] in graph["outputs"][link["target_slot"]]["linkIds"]
        else:
            assert nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"] == link["id"]
    required = {name for node in nodes.values() for name, slot in _required(node).items() if slot is None}
    assert not required, f"nothing brings {required}"


def _required(node: dict[str, Any]) -> dict[str, Any]:
    """The links of the required inputs of a node of the pack that are no widgets."""
    if node["type"] not in NODE_CLASS_MAPPINGS:
        return {}
    needed = NODE_CLASS_MAPPINGS[node["type"]].INPUT_TYPES()["required"]
    slots = [slot for slot in node["inputs"] if slot["name"] in needed and "widget" not in slot]
    return {f"{node['title']}.{slot['name']}": slot["link"] for slot in slots}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_outer_node_offers_the_inputs_with_the_values_inside(path: Path) -> None:
    outer, graph = outer_and_inner(path)
    assert outer["type"] == graph["id"]
    assert [slot["name"] for slot in outer["inputs"]] == [slot["name"] for slot in graph["inputs"]]
    assert [slot["name"] for slot in outer["outputs"]] == [slot["name"] for slot in graph["outputs"]]
    offered = [name for _, name in outer["properties"]["proxyWidgets"]]
    assert offered == [slot["name"] for slot in outer["inputs"] if "widget" in slot]
    values = dict(zip(offered, outer["widgets_values"], strict=True))
    assert values["preset"] == "balanced" and values["seconds"] == 6.0
    reached = {link["target_id"] for link in graph["links"] if link["id"] in _links_of(graph, "seconds")}
    with_seconds = {
        node["id"] for node in graph["nodes"] if any(slot["name"] == "seconds" for slot in node["inputs"])
    }
    assert reached == with_seconds, "the timeline and every sampler must have the same length"


def _links_of(graph: dict[str, Any], name: str) -> list[int]:
    links: list[int] = next(slot["linkIds"] for slot in graph["inputs"] if slot["name"] == name)
    return links
