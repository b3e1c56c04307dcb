"""A workflow in ComfyUI's API format: reading, changing and checking it before anything runs."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
            raise ValueError(f"got {text!r}, expected NODE.INPUT=VALUE, for example 5.seed=42 or Sampler.steps=8")
        return cls(node.strip(), name.strip(), value)


# --- reading -----------------------------------------------------------------------------------------------------

def read_json(path: Path) -> dict[str, Any]:
    """Reads a workflow file of either format; raises WorkflowError when it is not JSON or not a workflow."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkflowError(f"The workflow {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise WorkflowError(f"The workflow {path} is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise WorkflowError(f"The workflow {path} holds a JSON {type(data).__name__}, expected an object of nodes.")
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
        if not (isinstance(entry, Mapping) and isinstance(entry.get("class_type"), str)
                and isinstance(entry.get("inputs", {}), Mapping))
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


def _parse_node(node_id: str, entry: Mapping[str, Any]) -> Node:
    title = (entry.get("_meta") or {}).get("title") or entry["class_type"]
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


# --- changing ----------------------------------------------------------------------------------------------------

def apply_settings(workflow: Workflow, settings: Iterable[Setting], specs: Mapping[str, NodeSpec]) -> None:
    """Carries out every --set in place; raises WorkflowError naming each node or input that does not exist."""
    problems = []
    for setting in settings:
        try:
            node = find_node(workflow, setting.node)
            node.inputs[setting.input] = _setting_value(setting, node, specs.get(node.class_type))
        except WorkflowError as error:
            problems += error.problems
    if problems:
        raise WorkflowError(problems)


def find_node(workflow: Workflow, name: str) -> Node:
    """The node with this id, else the only one with this title; raises WorkflowError."""
    if name in workflow:
        return workflow[name]
    titled = [node for node in workflow.values() if node.title == name]
    if not titled:
        there = ", ".join(f"{node.id} ({node.title})" for node in workflow.values())
        raise WorkflowError(f"--set names the node {name!r}, which the workflow does not have: there is {there}.")
    if len(titled) > 1:
        ids = ", ".join(node.id for node in titled)
        raise WorkflowError(f"--set names the node {name!r}, but several have this title: use one of the ids {ids}.")
    return titled[0]


def _setting_value(setting: Setting, node: Node, spec: NodeSpec | None) -> Any:
    known = spec.inputs if spec else dict.fromkeys(node.inputs)
    if setting.input not in known:
        raise WorkflowError(f"--set names the input {setting.input!r}, which {node} does not have: "
                            f"{suggestion(setting.input, known)}.")
    try:
        value = _value_from_json(json.loads(setting.value))
    except ValueError:
        return setting.value
    target = known[setting.input]
    wants_text = target is not None and (target.type == "STRING" or setting.value in (target.choices or ()))
    return setting.value if wants_text and not isinstance(value, str | Link) else value


# --- checking ----------------------------------------------------------------------------------------------------

def require_known(workflow: Workflow, known: Iterable[str], hint: str) -> None:
    """Raises WorkflowError naming every node whose class is not in `known`; `hint` says what to do about it."""
    names = set(known)
    problems = [f"{capital(node)}: this class is not known here; {hint}."
                for node in workflow.values() if node.class_type not in names]
    if problems:
        raise WorkflowError(problems)


def output_nodes(workflow: Workflow, specs: Mapping[str, NodeSpec]) -> list[Node]:
    """The nodes that save or show something, in file order; raises WorkflowError when there is none."""
    found = [node for node in workflow.values() if specs[node.class_type].is_output]
    if not found:
        raise WorkflowError("The workflow has no node that saves or shows anything: add a SaveVideo or SaveImage node.")
    return found


def execution_order(workflow: Workflow, targets: Iterable[Node]) -> list[Node]:
    """The nodes that `targets` need, each after what it needs; raises WorkflowError on a cycle or a missing node."""
    done: dict[str, Node] = {}
    for target in targets:
        _visit(workflow, target, done)
    return list(done.values())


def _visit(workflow: Workflow, target: Node, done: dict[str, Node]) -> None:
    path: dict[str, Iterator[tuple[str, Link]]] = {target.id: target.links()}
    while path:
        node = workflow[next(reversed(path))]
        for name, link in path[node.id]:
            if link.node in done:
                continue
            if link.node not in workflow:
                raise WorkflowError(f"{capital(node)}: input {name} comes from node {link.node}, which does not exist.")
            if link.node in path:
                circle = [*list(path)[list(path).index(link.node):], link.node]
                raise WorkflowError(f"The nodes {' <- '.join(circle)} form a circle, so that none of them can start.")
            path[link.node] = workflow[link.node].links()
            break
        else:
            del path[node.id]
            done[node.id] = node


def validate(workflow: Workflow, order: Iterable[Node], specs: Mapping[str, NodeSpec],
             node_classes: Mapping[str, type]) -> None:
    """Checks the inputs of the nodes in `order` as ComfyUI does, and converts constants to their type in place.

    Stricter than ComfyUI where it silently goes on: an input that the class does not have, or a constant where only
    a link makes sense, is an error. Raises WorkflowError with one sentence for each finding.
    """
    problems = [
        f"{capital(node)}: {problem}."
        for node in order
        for problem in _node_problems(node, workflow, specs, node_classes[node.class_type])
    ]
    if problems:
        raise WorkflowError(problems)


def _node_problems(node: Node, workflow: Workflow, specs: Mapping[str, NodeSpec], node_class: type) -> Iterator[str]:
    spec = specs[node.class_type]
    # Exports of some editor versions carry the name of the upload button as a further input.
    ignored = {"upload"} if any(item.upload for item in spec.inputs.values()) else set()
    for name in sorted(node.inputs.keys() - spec.inputs.keys() - ignored):
        yield f"there is no input {name!r}, {suggestion(name, spec.inputs)}"
    own_check = _OwnCheck.of(node_class)
    received: dict[str, Any] = {}
    for item in spec.inputs.values():
        if item.name not in node.inputs:
            if item.required:
                yield f"the required input {item.name} ({item.type}) is missing"
            continue
        value = node.inputs[item.name]
        if isinstance(value, Link):
            outputs = specs[workflow[value.node].class_type].outputs
            problem = _link_problem(item, value, outputs, workflow, typed="input_types" not in own_check.names)
            received[item.name] = outputs[value.output] if 0 <= value.output < len(outputs) else None
        else:
            problem = _constant_problem(item, node, checked=not own_check.covers(item.name))
        if problem:
            yield problem
    yield from _own_problems(node, node_class, own_check, received)


def _link_problem(item: InputSpec, link: Link, outputs: tuple[Any, ...], workflow: Workflow, typed: bool) -> str | None:
    source = workflow[link.node]
    if not 0 <= link.output < len(outputs):
        return f"input {item.name} takes output {link.output} of {source}, which has {len(outputs)} outputs"
    output = outputs[link.output]
    if typed and not _fits(output, item):
        got = "a list of choices" if isinstance(output, list | tuple) else output
        return f"input {item.name} takes {item.type}, but output {link.output} of {source} is {got}"
    return None


def _fits(output: Any, item: InputSpec) -> bool:
    if isinstance(output, list | tuple):
        return item.type == "*" or item.choices == tuple(output)
    offered = {name.strip() for name in str(output).split(",")}
    wanted = {name.strip() for name in item.type.split(",")}
    return "*" in offered | wanted or bool(offered & wanted)


_CONVERSIONS = {"INT": int, "FLOAT": float, "STRING": str}


def _constant_problem(item: InputSpec, node: Node, checked: bool) -> str | None:
    value = node.inputs[item.name]
    if not item.takes_value:
        return f"input {item.name} takes {item.type} from another node, got the constant {value!r}"
    if item.type == "BOOLEAN":
        if value not in (True, False):
            return f"input {item.name} takes true or false, got {value!r}"
        node.inputs[item.name] = bool(value)
    elif item.type in _CONVERSIONS:
        try:
            value = node.inputs[item.name] = _CONVERSIONS[item.type](value)
        except (TypeError, ValueError, OverflowError):
            return f"input {item.name} takes {item.type}, got {value!r}"
    return _range_problem(item, value) if checked else None


def _range_problem(item: InputSpec, value: Any) -> str | None:
    if item.choices is not None and value not in item.choices:
        return f"input {item.name} takes one of {_listing(item.choices)}, got {value!r}"
    low, high = item.options.get("min"), item.options.get("max")
    if item.type in ("INT", "FLOAT") and not (math.isfinite(value) and (low is None or value >= low)
                                              and (high is None or value <= high)):
        limits = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
        return f"input {item.name} takes {' and '.join(limits) or 'a finite number'}, got {value}"
    return None


def _listing(choices: tuple[Any, ...], limit: int = 20) -> str:
    shown = ", ".join(str(choice) for choice in choices[:limit])
    more = len(choices) - limit
    return (shown + (f" and {more} more" if more > 0 else "")) or "nothing (the list is empty)"


@dataclass(frozen=True)
class _OwnCheck:
    """Which inputs a class checks itself in VALIDATE_INPUTS; ComfyUI then leaves their values alone."""

    names: frozenset[str]
    everything: bool = False

    @classmethod
    def of(cls, node_class: type) -> _OwnCheck:
        check = getattr(node_class, "VALIDATE_INPUTS", None)
        if check is None:
            return cls(frozenset())
        arguments = inspect.getfullargspec(check)
        return cls(frozenset(arguments.args) | frozenset(arguments.kwonlyargs), arguments.varkw is not None)

    def covers(self, name: str) -> bool:
        return self.everything or name in self.names


def _own_problems(node: Node, node_class: type, own_check: _OwnCheck, received: Mapping[str, Any]) -> Iterator[str]:
    values = {name: None if isinstance(value, Link) else value
              for name, value in node.inputs.items() if own_check.covers(name)}
    if "input_types" in own_check.names:
        values["input_types"] = dict(received)
    if not values:
        return
    result = node_class.VALIDATE_INPUTS(**values)
    if result is not True:
        yield str(result).rstrip(".") if result else f"its own check refuses {', '.join(map(str, values))}"


def capital(node: Node) -> str:
    """The node's name at the start of a sentence."""
    text = str(node)
    return text[0].upper() + text[1:]
