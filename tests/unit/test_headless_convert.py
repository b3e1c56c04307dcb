"""The editor's format becomes the API format, with everything resolved that the editor resolves itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from framepack_transitions.headless.workflows.convert import convert
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.specs import NodeSpec
from framepack_transitions.headless.workflows.workflow import to_api


def spec(
    name: str, outputs: tuple[str, ...], required: dict[str, Any], optional: dict[str, Any] | None = None
) -> NodeSpec:
    return NodeSpec.from_server(
        name, {"input": {"required": required, "optional": optional or {}}, "output": list(outputs)}
    )


SPECS = {
    item.class_type: item
    for item in (
        spec("Loader", ("MODEL", "CLIP"), {"name": [["a.safetensors", "b.safetensors"]]}),
        spec("Encode", ("CONDITIONING",), {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}),
        spec("Picture", ("IMAGE",), {"image": [["x.png"], {"image_upload": True}]}),
        spec("Technique", ("MODEL",), {"model": ["MODEL"], "strength": ["FLOAT", {"default": 1.0}]}),
        spec(
            "Sampler",
            ("LATENT", "TRACE"),
            {
                "model": ["MODEL"],
                "positive": ["CONDITIONING"],
                "steps": ["INT", {"default": 20}],
                "seed": ["INT", {"default": 0}],
                "solver": ["COMBO", {"options": ["euler", "unipc"]}],
            },
            {
                "image": ["IMAGE"],
                "denoise": ["FLOAT", {"default": 1.0}],
                "tail": ["INT", {"forceInput": True}],
            },
        ),
        spec("Save", (), {"samples": ["LATENT"], "prefix": ["STRING", {}]}),
    )
}


def node(
    number: int,
    kind: str,
    inputs: list[dict[str, Any]] | None = None,
    values: Any = None,
    mode: int = 0,
    **more: Any,
) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "pos": [0, 0],
        "mode": mode,
        "order": 0,
        "inputs": inputs or [],
        "widgets_values": [] if values is None else values,
        **more,
    }


def slot(name: str, kind: str, link: int | None, widget: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link, **({"widget": {"name": name}} if widget else {})}


# loader -> (reroute) -> technique -> sampler; the sampler's steps come from a primitive, its denoise is an
# input slot that nothing is connected to.
GRAPH: dict[str, Any] = {
    "version": 0.4,
    "last_node_id": 10,
    "nodes": [
        node(1, "Loader", values=["b.safetensors"]),
        node(2, "Encode", [slot("clip", "CLIP", 10)], ["a cat"], title="Prompt"),
        node(3, "Reroute", [slot("", "*", 11)], outputs=[{"name": "", "type": "MODEL", "links": [12]}]),
        node(4, "Technique", [slot("model", "MODEL", 12)], [0.5]),
        node(5, "PrimitiveNode", values=[8, "fixed"]),
        node(
            6,
            "Sampler",
            [
                slot("model", "MODEL", 13),
                slot("positive", "CONDITIONING", 14),
                slot("image", "IMAGE", 17),
                slot("steps", "INT", 15, widget=True),
                slot("denoise", "FLOAT", None, widget=True),
            ],
            [20, 123, "randomize", "unipc", 0.75],
        ),
        node(7, "Save", [slot("samples", "LATENT", 16)], ["out"]),
        node(8, "Note", values=["remember the milk"]),
        node(9, "MarkdownNote", values=["# so much"]),
        node(10, "Picture", values=["x.png", "image"]),
    ],
    "links": [
        [10, 1, 1, 2, 0, "CLIP"],
        [11, 1, 0, 3, 0, "MODEL"],
        [12, 3, 0, 4, 0, "MODEL"],
        [13, 4, 0, 6, 0, "MODEL"],
        [14, 2, 0, 6, 1, "CONDITIONING"],
        [15, 5, 0, 6, 3, "INT"],
        [16, 6, 0, 7, 0, "LATENT"],
        [17, 10, 0, 6, 2, "IMAGE"],
    ],
}


def graph(**modes: int) -> dict[str, Any]:
    """GRAPH with the modes of some nodes changed: n4=4 bypasses node 4."""
    result = copy.deepcopy(GRAPH)
    for entry in result["nodes"]:
        entry["mode"] = modes.get(f"n{entry['id']}", entry["mode"])
    return result


def converted(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: value["inputs"] for key, value in to_api(convert(data, SPECS, "install it")).items()}


def test_a_whole_graph() -> None:
    assert converted(graph()) == {
        "1": {"name": "b.safetensors"},
        "2": {"text": "a cat", "clip": ["1", 1]},
        "4": {"model": ["1", 0], "strength": 0.5},
        "6": {
            "model": ["4", 0],
            "positive": ["2", 0],
            "steps": 8,
            "seed": 123,
            "solver": "unipc",
            "image": ["10", 0],
            "denoise": 0.75,
        },
        "7": {"samples": ["6", 0], "prefix": "out"},
        "10": {"image": "x.png"},
    }


def test_titles_are_kept() -> None:
    workflow = convert(graph(), SPECS, "")
    assert (workflow["2"].title, workflow["1"].title) == ("Prompt", "Loader")


def test_a_bypassed_node_passes_its_input_of_the_same_type_on() -> None:
    result = converted(graph(n4=4))
    assert result["6"]["model"] == ["1", 0]
    assert "4" not in result


def test_a_bypassed_node_without_such_an_input_passes_nothing() -> None:
    assert "image" not in converted(graph(n10=4))["6"]


def test_a_muted_node_leaves_its_consumers_unconnected() -> None:
    result = converted(graph(n4=2))
    assert "model" not in result["6"]
    assert "4" not in result


def test_a_seed_without_the_extra_value_is_read_as_well() -> None:
    data = graph()
    data["nodes"][5]["widgets_values"] = [20, 123, "unipc", 0.75]
    assert converted(data)["6"]["seed"] == 123
    assert converted(data)["6"]["solver"] == "unipc"


def test_widgets_that_the_file_does_not_know_get_their_defaults() -> None:
    data = graph()
    data["nodes"][5]["widgets_values"] = [20, 123, "fixed"]
    assert converted(data)["6"]["solver"] == "euler"
    assert converted(data)["6"]["denoise"] == 1.0


def test_widget_values_by_name_are_read() -> None:
    data = graph()
    data["nodes"][5]["widgets_values"] = {"steps": 20, "seed": 5, "solver": "euler", "videopreview": {}}
    assert converted(data)["6"]["seed"] == 5
    assert "videopreview" not in converted(data)["6"]


def test_links_as_objects_are_read() -> None:
    data = graph()
    data["links"] = [
        {
            "id": number,
            "origin_id": source,
            "origin_slot": output,
            "target_id": target,
            "target_slot": place,
            "type": kind,
        }
        for number, source, output, target, place, kind in data["links"]
    ]
    assert converted(data) == converted(graph())


def test_a_seed_with_the_switch_of_very_old_files_is_read() -> None:
    data = graph()
    data["nodes"][5]["widgets_values"] = [20, 123, True, "unipc", 0.75]
    assert converted(data) == converted(graph())


def test_values_of_widgets_that_only_the_editor_knows_are_ignored_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = graph()
    data["nodes"][3]["widgets_values"] = [0.5, "a preview"]
    assert converted(data) == converted(graph())
    assert "Node 4 Technique keeps 1 widget values more" in caplog.text


def test_every_unknown_class_is_named() -> None:
    data = graph()
    data["nodes"] += [node(20, "Mystery"), node(21, "Riddle"), node(22, "Enigma", mode=2)]
    with pytest.raises(WorkflowError) as caught:
        convert(data, SPECS, "install it")
    assert caught.value.problems == (
        "Node 20 Mystery: this class is not known here; install it.",
        "Node 21 Riddle: this class is not known here; install it.",
    )


def test_subgraphs_are_refused_with_a_way_out() -> None:
    data = graph()
    data["definitions"] = {"subgraphs": [{"id": "b2f0", "name": "Two samplers"}]}
    data["nodes"].append(node(20, "b2f0"))
    with pytest.raises(WorkflowError, match=r"Node 20 is the subgraph 'Two samplers'.*Export \(API\)"):
        convert(data, SPECS, "")


def test_a_damaged_file_is_refused() -> None:
    data = graph()
    data["links"].append([1, 2])
    with pytest.raises(WorkflowError, match="damaged"):
        convert(data, SPECS, "")


def test_a_circle_of_reroutes_ends() -> None:
    data = graph()
    data["nodes"][2]["inputs"][0]["link"] = 12
    assert "model" not in converted(data)["4"]
