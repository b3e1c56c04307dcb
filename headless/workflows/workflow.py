"""A workflow in ComfyUI's API format: reading and changing it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...nodes.files.reading import read_json_file, said
from .errors import WorkflowError
from .specs import InputSpec, NodeSpec, suggestion


@dataclass(frozen=True)
class Link:
    """The output number `output` (from 0) of the node `node`."""

    node: str
    output: int


@dataclass
class Node:
    """One node; `inputs` holds constants and Links."""

    id: str
    class_type: str
    title: str
    inputs: dict[str, Any]

    def __str__(self) -> str:
        name = f"node {self.id} {self.class_type}"
        return f'{name} "{self.title}"' if self.title and self.title != self.class_type else name

    def links(self) -> Iterator[tuple[str, Link]]:
        """The linked inputs."""
        return ((name, value) for name, value in self.inputs.items() if isinstance(value, Link))


Workflow = dict[str, Node]


@dataclass(frozen=True)
class Setting:
    """One --set: the input `input` of the node with this id or title gets `value` (text as typed)."""

    node: str
    input: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Reads NODE.INPUT=VALUE, where NODE may hold dots; raises ValueError."""
        target, equals, value = text.partition("=")
        node, dot, name = target.rpartition(".")
        if not (equals and dot and node.strip() and name.strip()):
            raise ValueError(
                f"got {text!r}, expected NODE.INPUT=VALUE, for example 5.seed=42 or Sampler.steps=8"
            )
        return cls(node.strip(), name.strip(), value)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a workflow file of either format, with or without a byte-order mark.

    Raises WorkflowError when it cannot be read, is not JSON, or is not a workflow.
    """
    if path.is_dir():
        raise WorkflowError(f"The workflow {path} is a folder: name a JSON file in it.")
    try:
        data = read_json_file(path)
    except OSError as error:
        raise WorkflowError(f"The workflow {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise WorkflowError(f"The workflow {path} is not JSON: {said(error)}.") from error
    if not isinstance(data, dict):
        raise WorkflowError(
            f"The workflow {path} holds a JSON {type(data).__name__}, expected an object of nodes."
        )
    return data


def is_ui_format(data: Mapping[str, Any]) -> bool:
    """Whether the editor saved this file; the API format maps node ids to nodes and has no list of nodes."""
    return isinstance(data.get("nodes"), list)


def parse_api(data: Mapping[str, Any]) -> Workflow:
    """Turns API-format JSON into nodes; raises WorkflowError naming every entry that is not a node."""
    if isinstance(data.get("prompt"), Mapping) and "class_type" not in data["prompt"]:
        data = data["prompt"]
    problems = [
        f"Entry {node_id!r} of the workflow is not a node: expected an object with class_type and inputs."
        for node_id, entry in data.items()
        if not (
            isinstance(entry, Mapping)
            and isinstance(entry.get("class_type"), str)
            and isinstance(entry.get("inputs", {}), Mapping)
        )
    ]
    if problems or not data:
        raise WorkflowError(problems or "The workflow has no nodes.")
    return {node_id: _parse_node(node_id, entry) for node_id, entry in data.items()}


def to_api(workflow: Workflow) -> dict[str, Any]:
    """The JSON that `POST /prompt` takes; the inverse of parse_api."""
    return {
        node.id: {
            "class_type": node.class_type,
            "inputs": {name: _value_to_json(value) for name, value in node.inputs.items()},
            "_meta": {"title": node.title},
        }
        for node in workflow.values()
    }


def loaded_files(workflow: Workflow, specs: Mapping[str, NodeSpec]) -> Iterator[tuple[Node, InputSpec, str]]:
    """The inputs that name a file of the input folder: the node, what is known of the input, and the name."""
    for node in workflow.values():
        for item in specs[node.class_type].inputs.values():
            name = node.inputs.get(item.name)
            if item.names_file and isinstance(name, str):
                yield node, item, name


def copied(workflow: Workflow) -> Workflow:
    """The same nodes with inputs of their own, which can be changed without changing the others."""
    return {node.id: replace(node, inputs=dict(node.inputs)) for node in workflow.values()}


def _parse_node(node_id: str, entry: Mapping[str, Any]) -> Node:
    meta = entry.get("_meta")
    title = (meta.get("title") if isinstance(meta, Mapping) else None) or entry["class_type"]
    inputs = {name: _value_from_json(value) for name, value in entry.get("inputs", {}).items()}
    return Node(node_id, entry["class_type"], str(title), inputs)


def _value_from_json(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
        return Link(*value)
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def _value_to_json(value: Any) -> Any:
    if isinstance(value, Link):
        return [value.node, value.output]
    return {"__value__": value} if isinstance(value, list) else value


def capital(node: Node) -> str:
    """The node's name at the start of a sentence."""
    text = str(node)
    return text[0].upper() + text[1:]


def apply_settings(
    workflow: Workflow, settings: Iterable[Setting], specs: Mapping[str, NodeSpec], *, option: str = "--set"
) -> None:
    """Carries out every setting in place; raises WorkflowError naming each missing node or input, and the `option`."""
    problems: list[str] = []
    for setting in settings:
        try:
            node = find_node(workflow, setting.node, option)
            spec = specs.get(node.class_type)
            known = spec.inputs if spec else dict.fromkeys(node.inputs)
            if setting.input not in known:
                raise WorkflowError(
                    f"{option} names the input {setting.input!r}, which {node} does not have: "
                    f"{suggestion(setting.input, known)}."
                )
            node.inputs[setting.input] = _setting_value(setting.value, known[setting.input])
        except WorkflowError as error:
            problems += error.problems
    if problems:
        raise WorkflowError(problems)


def find_node(workflow: Workflow, name: str, option: str) -> Node:
    """The node with this id, else the only one with this title; raises WorkflowError, which says what `option` names."""
    if name in workflow:
        return workflow[name]
    titled = [node for node in workflow.values() if node.title == name]
    if not titled:
        there = ", ".join(f"{node.id} ({node.title})" for node in workflow.values())
        raise WorkflowError(
            f"{option} names the node {name!r}, which the workflow does not have: there is {there}."
        )
    if len(titled) > 1:
        ids = ", ".join(node.id for node in titled)
        raise WorkflowError(
            f"{option} names the node {name!r}, but several have this title: use one of the ids {ids}."
        )
    return titled[0]


def _setting_value(text: str, target: InputSpec | None) -> Any:
    """What a text that was typed means to an input, of which None says that nothing is known."""
    try:
        value = _value_from_json(json.loads(text))
    except ValueError:
        return text
    wants_text = target is not None and (target.type == "STRING" or text in (target.choices or ()))
    return text if wants_text and not isinstance(value, str | Link) else value
