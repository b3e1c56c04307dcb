"""Runs an API-format workflow in this process: only what the output nodes need, every node once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...samplers.progress import Interrupted, progress_reporting
from .errors import WorkflowError
from .specs import NodeClass, NodeClasses, NodeSpec, specs_of
from .validation import (
    execution_order,
    fill_defaults,
    output_nodes,
    require_known,
    validate,
    warn_of_nothing_saved,
)
from .workflow import Link, Node, Workflow, capital, to_api

HINT = "queue the workflow to a running ComfyUI with --server URL, or use the nodes of this pack"


class Observer:
    """Called at every step of a run. Its methods do nothing; subclasses override those that they need."""

    def started(self, node: Node) -> None:
        """The node is about to run."""

    def progress(self, node: Node, step: int, total: int, info: Mapping[str, Any]) -> None:
        """The node has done `step` of `total` steps; raising samplers.progress.Interrupted stops the run."""

    def finished(self, node: Node, outputs: Mapping[str, Any], ui: Mapping[str, Any], seconds: float) -> None:
        """The node has run.

        outputs: by type, the last one of each. ui: what ComfyUI's interface would show, such as names of files.
        """


@dataclass(frozen=True)
class Plan:
    """A workflow that has been checked.

    workflow: all nodes by id, with defaults filled in.
    order: the nodes to run, each after those that it needs.
    specs: what is known of their classes, by name.
    """

    workflow: Workflow
    order: Sequence[Node]
    specs: Mapping[str, NodeSpec]


def prepare(workflow: Workflow, node_classes: NodeClasses) -> Plan:
    """Fills in defaults and checks everything that can be checked before a node runs.

    Raises WorkflowError naming all findings; warns when nothing would be saved.
    """
    require_known(workflow, node_classes, HINT)
    specs = specs_of(node_classes, (node.class_type for node in workflow.values()))
    fill_defaults(workflow, specs)
    targets = output_nodes(workflow, specs)
    order = execution_order(workflow, targets)
    validate(workflow, order, specs, node_classes)
    warn_of_nothing_saved(targets, specs)
    return Plan(workflow, order, specs)


def execute(plan: Plan, node_classes: NodeClasses, observers: Sequence[Observer] = ()) -> None:
    """Runs the plan; raises WorkflowError naming the node that failed, and lets Interrupted pass.

    A result is dropped after its last use. As in ComfyUI, nodes run under inference_mode.
    """
    waiting = Counter(link.node for node in plan.order for _, link in node.links())
    results: dict[str, tuple[Any, ...]] = {}
    prompt = to_api(plan.workflow)
    for node in plan.order:
        for observer in observers:
            observer.started(node)
        began = time.perf_counter()
        node_class = node_classes[node.class_type]
        arguments = _arguments(node, node_class, results, prompt)
        outputs, ui = _run(node, node_class, arguments, observers)
        del arguments
        results[node.id] = outputs
        waiting.subtract(link.node for _, link in node.links())
        for finished in {node.id, *(link.node for _, link in node.links())}:
            if waiting[finished] <= 0:
                results.pop(finished, None)
        by_type = dict(zip(map(str, node_class.RETURN_TYPES), outputs, strict=True))
        for observer in observers:
            observer.finished(node, by_type, ui, time.perf_counter() - began)


def _arguments(
    node: Node, node_class: type[NodeClass], results: Mapping[str, tuple[Any, ...]], prompt: Mapping[str, Any]
) -> dict[str, Any]:
    declared = node_class.INPUT_TYPES()
    names = {**declared.get("required", {}), **declared.get("optional", {})}
    arguments = {
        name: results[value.node][value.output] if isinstance(value, Link) else value
        for name, value in node.inputs.items()
        if name in names
    }
    hidden = {"PROMPT": prompt, "UNIQUE_ID": node.id}
    return {**arguments, **{name: hidden.get(kind) for name, kind in declared.get("hidden", {}).items()}}


def _run(
    node: Node, node_class: type[NodeClass], arguments: Mapping[str, Any], observers: Sequence[Observer]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    def report_step(step: int, total: int, info: Mapping[str, Any]) -> None:
        for observer in observers:
            observer.progress(node, step, total, info)

    try:
        with progress_reporting(report_step), torch.inference_mode():
            returned = getattr(node_class(), node_class.FUNCTION)(**arguments)
    except Interrupted:
        raise
    except (
        Exception
    ) as error:  # whatever a node raises is reported with the node's name, the cause stays attached
        raise WorkflowError(f"{capital(node)} failed: {describe(error).rstrip('.')}.") from error
    return _outputs(node, node_class, returned)


def _outputs(
    node: Node, node_class: type[NodeClass], returned: Any
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    ui: Mapping[str, Any] = {}
    if isinstance(returned, Mapping):
        ui, returned = returned.get("ui", {}), returned.get("result", ())
    outputs = tuple(returned) if isinstance(returned, tuple | list) else None
    if outputs is None or len(outputs) != len(node_class.RETURN_TYPES):
        got = type(returned).__name__ if outputs is None else f"{len(outputs)} results"
        raise WorkflowError(
            f"{capital(node)} returned {got}, expected {len(node_class.RETURN_TYPES)} results."
        )
    return outputs, ui


def describe(error: BaseException) -> str:
    """The error in one line, with its type where the message alone would puzzle."""
    message = " ".join(str(error).split())
    if isinstance(error, ValueError | RuntimeError) and message:
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
