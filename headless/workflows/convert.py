"""From the format that the editor saves (version 0.4, and 1 where it differs) to the API format.

The editor keeps widget values by position, so that the node classes' inputs are needed to name them. What the
editor itself resolves before queueing is resolved here in the same way: muted and bypassed nodes, reroutes,
primitives and notes. Subgraphs and group nodes are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...nodes.files.reading import DAMAGED, said
from .errors import WorkflowError
from .renamed import SAMPLER, rename_old_nodes, unknown_class
from .specs import NodeSpec
from .validation import require_known
from .workflow import Link, Node, Workflow, is_ui_format, parse_api, read_json

logger = logging.getLogger(__name__)

MUTED, BYPASSED = 2, 4
NOTES = frozenset({"Note", "MarkdownNote"})
REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize"})


@dataclass(frozen=True)
class Wire:
    """One link of the editor's graph."""

    source: str
    output: int
    type: Any

    @classmethod
    def parse(cls, entry: Any) -> tuple[Any, Wire]:
        """Reads [id, source, output, target, input, type] or the object form of newer files."""
        if isinstance(entry, Mapping):
            return entry["id"], cls(str(entry["origin_id"]), int(entry["origin_slot"]), entry.get("type"))
        number, source, output, _, _, kind = entry[:6]
        return number, cls(str(source), int(output), kind)


@dataclass(frozen=True)
class _Value:
    """A constant that a primitive puts in place of a link."""

    value: Any


def class_types(data: Mapping[str, Any]) -> set[str]:
    """The node classes that a conversion of this UI-format file needs to know."""
    return {str(node.get("type")) for node in data["nodes"] if _is_real(node)}


def convert(data: Mapping[str, Any], specs: Mapping[str, NodeSpec], hint: str) -> Workflow:
    """Converts a UI-format file; raises WorkflowError naming every unknown node, with `hint`."""
    _refuse_subgraphs(data)
    graph = _Graph(data)
    problems: list[str] = []
    workflow: Workflow = {}
    for node_id, node in graph.nodes.items():
        if not _is_real(node):
            continue
        spec = specs.get(node["type"])
        if spec is None:
            problems.append(f"Node {node_id} {node['type']}: {unknown_class(node['type'], hint)}.")
            continue
        try:
            workflow[node_id] = Node(node_id, spec.class_type, _title(node), _inputs(node, spec, graph))
        except WorkflowError as error:
            problems += error.problems
    if problems or not workflow:
        raise WorkflowError(problems or "The workflow has no nodes that could run.")
    return workflow


def _is_real(node: Mapping[str, Any]) -> bool:
    """Whether the node itself reaches the API format."""
    return node.get("type") not in NOTES | {REROUTE, PRIMITIVE} and node.get("mode", 0) not in (
        MUTED,
        BYPASSED,
    )


def _title(node: Mapping[str, Any]) -> str:
    return str(node.get("title") or node["type"])


def _refuse_subgraphs(data: Mapping[str, Any]) -> None:
    subgraphs = {
        graph.get("id"): graph.get("name") for graph in (data.get("definitions") or {}).get("subgraphs", ())
    }
    problems = [
        f"Node {node.get('id')} is the subgraph {subgraphs.get(node.get('type'), node.get('type'))!r}, which "
        "cannot be converted: unpack it in ComfyUI, or save the workflow with Export (API)."
        for node in data["nodes"]
        if node.get("type") in subgraphs or str(node.get("type")).startswith(("workflow>", "workflow/"))
    ]
    if problems:
        raise WorkflowError(problems)


class _Graph:
    """The editor's nodes by id and wires by number, with the way back through nodes that never run."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        try:
            self.nodes = {str(node["id"]): node for node in data["nodes"]}
            self.wires = dict(Wire.parse(entry) for entry in data.get("links") or ())
        except (KeyError, TypeError, ValueError) as error:
            raise WorkflowError(
                f"The UI-format workflow is damaged: a node or link lacks {error}."
            ) from error

    def origin(self, wire_number: Any) -> Link | _Value | None:
        """What a wire brings in the end; None when it comes from nothing that runs."""
        seen = set()
        while wire_number in self.wires and wire_number not in seen:
            seen.add(wire_number)
            wire = self.wires[wire_number]
            node = self.nodes.get(wire.source)
            if node is None or node.get("mode", 0) == MUTED:
                return None
            if node.get("mode", 0) == BYPASSED:
                wire_number = self._passed_through(node, wire)
            elif node["type"] == REROUTE:
                wire_number = next((slot.get("link") for slot in node.get("inputs", ())), None)
            elif node["type"] == PRIMITIVE:
                values = node.get("widgets_values")
                return _Value(values[0]) if values else None
            else:
                return Link(wire.source, wire.output)
        return None

    @staticmethod
    def _passed_through(node: Mapping[str, Any], wire: Wire) -> Any:
        """The input that a bypassed node passes on: of the same type, in the same place if possible."""
        slots = list(node.get("inputs") or ())
        preferred = slots[wire.output : wire.output + 1] + slots
        return next((slot.get("link") for slot in preferred if _same_type(slot.get("type"), wire.type)), None)


def _same_type(one: Any, other: Any) -> bool:
    return one == other or "*" in (one, other)


def _inputs(node: Mapping[str, Any], spec: NodeSpec, graph: _Graph) -> dict[str, Any]:
    values = _widget_values(node, spec)
    for slot in node.get("inputs") or ():
        name = (slot.get("widget") or {}).get("name") or slot.get("name")
        if slot.get("link") is None:
            continue
        origin = graph.origin(slot["link"])
        if isinstance(origin, _Value):
            values[name] = origin.value
        elif origin is not None:
            values[name] = origin
    # Declared order, so that the result reads like an export of the editor.
    rank = {name: position for position, name in enumerate(spec.inputs)}
    return dict(sorted(values.items(), key=lambda item: rank.get(item[0], len(rank))))


def _widget_values(node: Mapping[str, Any], spec: NodeSpec) -> dict[str, Any]:
    """Names the positional widget values; widgets that the file is too old to know get their defaults."""
    stored = node.get("widgets_values") or []
    widgets = [item for item in spec.inputs.values() if item.is_widget]
    if isinstance(stored, Mapping):
        return {item.name: stored[item.name] for item in widgets if item.name in stored}
    remaining = list(stored)
    values = {}
    for position, item in enumerate(widgets, start=1):
        if remaining:
            values[item.name] = remaining.pop(0)
        elif "default" in item.options:
            values[item.name] = item.options["default"]
        elif item.choices:
            values[item.name] = item.choices[0]
        if item.has_control and _is_control(remaining, len(widgets) - position):
            remaining.pop(0)
    # The upload button of LoadImage keeps a value of its own at the end.
    if remaining and not any(item.upload for item in widgets):
        logger.warning(
            "Node %s %s keeps %d widget values more than the class has widgets; the last ones are ignored.",
            node["id"],
            spec.class_type,
            len(remaining),
        )
    return values


def _is_control(remaining: Sequence[Any], widgets_left: int) -> bool:
    """Whether the next value belongs to "control after generate"; very old files keep true or false."""
    if not remaining:
        return False
    return remaining[0] in CONTROLS or (isinstance(remaining[0], bool) and len(remaining) > widgets_left)


def load_workflow(
    path: Path, find_specs: Callable[[set[str]], Mapping[str, NodeSpec]], hint: str
) -> tuple[Workflow, Mapping[str, NodeSpec]]:
    """Reads a workflow of either format, and what `find_specs` knows about its classes.

    Raises WorkflowError when the file is damaged or a class is unknown; `hint` says what to do then.
    """
    data = read_json(path)
    try:
        return _load(data, find_specs, hint)
    except DAMAGED as error:
        raise WorkflowError(
            f"The workflow {path} is damaged: its nodes and links are not those of a workflow ({said(error)})."
        ) from error


def _load(
    data: dict[str, Any], find_specs: Callable[[set[str]], Mapping[str, NodeSpec]], hint: str
) -> tuple[Workflow, Mapping[str, NodeSpec]]:
    renamed = rename_old_nodes(data)
    if renamed:
        logger.info("Read as %s, the new id of the sampler: node %s.", SAMPLER, ", ".join(renamed))
    if is_ui_format(data):
        specs = find_specs(class_types(data))
        return convert(data, specs, hint), specs
    workflow = parse_api(data)
    specs = find_specs({node.class_type for node in workflow.values()})
    require_known(workflow, specs, hint)
    return workflow, specs
