"""Reading workflow files and changing them with --set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.specs import InputSpec, NodeSpec
from framepack_transitions.headless.workflows.workflow import (
    Link,
    Setting,
    apply_settings,
    is_ui_format,
    parse_api,
    read_json,
    to_api,
)

API = {
    "1": {
        "class_type": "Text",
        "inputs": {"text": "a", "size": 2, "kind": "8"},
        "_meta": {"title": "My text"},
    },
    "2": {"class_type": "Text", "inputs": {"text": ["1", 0], "list": {"__value__": [1, 2]}}},
}
SPECS = {
    "Text": NodeSpec(
        "Text",
        {
            "text": InputSpec("text", "STRING", True),
            "size": InputSpec("size", "INT", True),
            "kind": InputSpec("kind", "COMBO", True, choices=("8", "16")),
            "list": InputSpec("list", "*", False),
        },
    )
}


def changed(*settings: str) -> dict[str, dict[str, Any]]:
    workflow = parse_api(API)
    apply_settings(workflow, map(Setting.parse, settings), SPECS)
    return {node.id: node.inputs for node in workflow.values()}


def test_links_and_lists_are_told_apart_and_survive_a_round_trip() -> None:
    workflow = parse_api(API)
    assert workflow["2"].inputs == {"text": Link("1", 0), "list": [1, 2]}
    assert str(workflow["1"]) == 'node 1 Text "My text"'
    assert str(workflow["2"]) == "node 2 Text"
    again = to_api(workflow)
    assert {key: value["inputs"] for key, value in again.items()} == {
        key: value["inputs"] for key, value in API.items()
    }


def test_a_saved_request_body_is_a_workflow_too() -> None:
    assert parse_api({"prompt": API, "client_id": "x"}).keys() == API.keys()


def test_the_formats_are_told_apart() -> None:
    assert is_ui_format({"nodes": [], "links": []})
    assert not is_ui_format(API)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "no nodes"),
        ({"1": {"inputs": {}}, "2": 3}, "Entry '1' of the workflow is not a node"),
    ],
)
def test_what_is_no_workflow_is_refused(data: dict[str, Any], expected: str) -> None:
    with pytest.raises(WorkflowError, match=expected):
        parse_api(data)


@pytest.mark.parametrize(
    ("content", "expected"), [("{", "is not JSON"), ("[1]", "holds a JSON list"), (None, "cannot be read")]
)
def test_unreadable_files_are_named(tmp_path: Path, content: str | None, expected: str) -> None:
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(WorkflowError, match=f"broken.json {expected}"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5.seed=42", Setting("5", "seed", "42")),
        ("v1.5 model.text=a.b=c", Setting("v1.5 model", "text", "a.b=c")),
        ("5.text=", Setting("5", "text", "")),
    ],
)
def test_settings_are_read(text: str, expected: Setting) -> None:
    assert Setting.parse(text) == expected


@pytest.mark.parametrize("text", ["", "5", "5.seed", "seed=3", ".seed=3", "5.=3"])
def test_malformed_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NODE.INPUT=VALUE"):
        Setting.parse(text)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("1.size=7", 7),
        ("My text.size=7", 7),
        ("1.size=high", "high"),
        ("1.size=true", True),
        ("2.list=[3, 4]", [3, 4]),
        ("1.size=" + json.dumps(["2", 0]), Link("2", 0)),
    ],
)
def test_values_are_json_where_possible(setting: str, value: Any) -> None:
    inputs = changed(setting)
    assert value in [candidate for node in inputs.values() for candidate in node.values()]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("1.text=true", "true"),
        ("1.text=5", "5"),
        ('1.text="quoted"', "quoted"),
        ('1.text=a "b"', 'a "b"'),
    ],
)
def test_text_stays_text(setting: str, value: str) -> None:
    assert changed(setting)["1"]["text"] == value


def test_choices_that_look_like_numbers_stay_text() -> None:
    assert changed("1.kind=16")["1"]["kind"] == "16"


def test_a_title_that_several_nodes_have_is_ambiguous() -> None:
    workflow = parse_api({"1": API["2"], "2": API["2"]})
    with pytest.raises(WorkflowError, match="use one of the ids 1, 2"):
        apply_settings(workflow, [Setting("Text", "text", "x")], SPECS)


def test_unknown_nodes_and_inputs_are_named_with_what_exists() -> None:
    with pytest.raises(WorkflowError) as caught:
        changed("9.text=x", "1.sizes=3", "1.zzz=3")
    assert caught.value.problems == (
        "--set names the node '9', which the workflow does not have: there is 1 (My text), 2 (Text).",
        "--set names the input 'sizes', which node 1 Text \"My text\" does not have: the closest is size.",
        (
            "--set names the input 'zzz', which node 1 Text \"My text\" does not have: "
            "there is kind, list, size, text."
        ),
    )
