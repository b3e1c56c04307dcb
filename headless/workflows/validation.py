"""Checks of a workflow before anything runs, in the spirit of ComfyUI's own."""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import WorkflowError
from .renamed import unknown_class
from .specs import InputSpec, NodeClass, NodeClasses, NodeSpec, suggestion
from .workflow import Link, Node, Workflow, capital

logger = logging.getLogger(__name__)

SAVES = re.compile(
    "save|file|path|folder|directory", re.IGNORECASE
)  # in the class or an input of a node that saves


def require_known(workflow: Workflow, known: Iterable[str], hint: str) -> None:
    """Raises WorkflowError naming every node whose class is not `known`; `hint` says what to do."""
    names = set(known)
    problems = [
        f"{capital(node)}: {unknown_class(node.class_type, hint)}."
        for node in workflow.values()
        if node.class_type not in names
    ]
    if problems:
        raise WorkflowError(problems)


def output_nodes(workflow: Workflow, specs: Mapping[str, NodeSpec]) -> list[Node]:
    """The nodes that save or show something, in file order; raises WorkflowError when there is none."""
    found = [node for node in workflow.values() if specs[node.class_type].is_output]
    if not found:
        raise WorkflowError(
            "The workflow has no node that saves or shows anything: add a SaveVideo or SaveImage node."
        )
    return found


def fill_defaults(workflow: Workflow, specs: Mapping[str, NodeSpec]) -> None:
    """Gives every widget that the workflow leaves out the default that its class declares, in place.

    Widgets without a declared default stay missing: the first file of a list is nobody's choice.
    """
    for node in workflow.values():
        for item in specs[node.class_type].inputs.values():
            if item.name not in node.inputs and item.is_widget and "default" in item.options:
                node.inputs[item.name] = item.options["default"]
                logger.info(
                    "%s: %s is left out and gets its default %r.",
                    capital(node),
                    item.name,
                    node.inputs[item.name],
                )


def warn_of_nothing_saved(targets: Iterable[Node], specs: Mapping[str, NodeSpec]) -> None:
    """Warns when no output node writes a file that stays: they all only show something."""
    nodes = list(targets)
    if not any(SAVES.search(" ".join([node.class_type, *specs[node.class_type].inputs])) for node in nodes):
        logger.warning(
            "Nothing will be saved: the workflow only shows what %s give%s. To keep a video add a SaveVideo or "
            "FramePackDecode node, to keep images SaveImage.",
            " and ".join(map(str, nodes)),
            "s" if len(nodes) == 1 else "",
        )


def execution_order(workflow: Workflow, targets: Iterable[Node]) -> list[Node]:
    """The nodes that `targets` need, each after its inputs; raises WorkflowError on a cycle or a gap."""
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
                raise WorkflowError(
                    f"{capital(node)}: input {name} comes from node {link.node}, which does not exist."
                )
            if link.node in path:
                circle = [*list(path)[list(path).index(link.node) :], link.node]
                raise WorkflowError(
                    f"The nodes {' <- '.join(circle)} form a circle, so that none of them can start."
                )
            path[link.node] = workflow[link.node].links()
            break
        else:
            del path[node.id]
            done[node.id] = node


def validate(
    workflow: Workflow, order: Iterable[Node], specs: Mapping[str, NodeSpec], node_classes: NodeClasses
) -> None:
    """Checks the inputs of the nodes in `order` as ComfyUI does; constants are converted in place.

    Stricter than ComfyUI where it silently goes on: an input that the class lacks, or a constant where
    only a link makes sense, is an error. Raises WorkflowError with one sentence for each finding.
    """
    problems = [
        f"{capital(node)}: {problem}."
        for node in order
        for problem in _node_problems(node, workflow, specs, node_classes[node.class_type])
    ]
    if problems:
        raise WorkflowError(problems)


def _node_problems(
    node: Node, workflow: Workflow, specs: Mapping[str, NodeSpec], node_class: type[NodeClass]
) -> Iterator[str]:
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
            problem = _link_problem(
                item, value, outputs, workflow, typed="input_types" not in own_check.names
            )
            received[item.name] = outputs[value.output] if 0 <= value.output < len(outputs) else None
        else:
            problem = _constant_problem(item, node, checked=not own_check.covers(item.name))
        if problem:
            yield problem
    yield from own_check.problems(node, received)


def _link_problem(
    item: InputSpec, link: Link, outputs: tuple[Any, ...], workflow: Workflow, *, typed: bool
) -> str | None:
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
    if item.type in ("INT", "FLOAT") and not (
        math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
    ):
        limits = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
        return f"input {item.name} takes {' and '.join(limits) or 'a finite number'}, got {value}"
    return None


def _listing(choices: tuple[Any, ...], limit: int = 20) -> str:
    shown = ", ".join(str(choice) for choice in choices[:limit])
    more = len(choices) - limit
    return (shown + (f" and {more} more" if more > 0 else "")) or "nothing (the list is empty)"


@dataclass(frozen=True)
class _OwnCheck:
    """How a class checks inputs itself.

    method: its VALIDATE_INPUTS, None where it has none.
    names: the inputs that the method takes; ComfyUI then leaves their values alone.
    everything: whether it takes all inputs.
    """

    method: Callable[..., Any] | None = None
    names: frozenset[str] = frozenset()
    everything: bool = False

    @classmethod
    def of(cls, node_class: type[NodeClass]) -> _OwnCheck:
        method = getattr(node_class, "VALIDATE_INPUTS", None)
        if method is None:
            return cls()
        arguments = inspect.getfullargspec(method)
        names = frozenset(arguments.args) | frozenset(arguments.kwonlyargs)
        return cls(method, names, arguments.varkw is not None)

    def covers(self, name: str) -> bool:
        return self.everything or name in self.names

    def problems(self, node: Node, received: Mapping[str, Any]) -> Iterator[str]:
        """What the method says of the node's constants; `received` are the types that its links bring."""
        values = {
            name: None if isinstance(value, Link) else value
            for name, value in node.inputs.items()
            if self.covers(name)
        }
        if "input_types" in self.names:
            values["input_types"] = dict(received)
        if self.method is None or not values:
            return
        result = self.method(**values)
        if result is not True:
            yield (
                str(result).rstrip(".") if result else f"its own check refuses {', '.join(map(str, values))}"
            )
