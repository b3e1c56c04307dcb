"""The nodes of a workflow in ComfyUI's API format, and the links between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

Step = Mapping[str, Any]
"""A node of a workflow: its `class_type`, and its `inputs` by name, each a value or a link [node id, output]."""


@dataclass(frozen=True)
class WorkflowGraph:
    """A workflow, with links followed from a node back to where its inputs come from.

    nodes: by id, as ComfyUI's hidden input PROMPT gives them; None where a node is called outside of a workflow.
    """

    nodes: Mapping[str, Step] | None

    def step(self, node: Any) -> Step | None:
        """The node of this id, None where the workflow has none."""
        step = (self.nodes or {}).get(str(node))
        return step if isinstance(step, Mapping) and isinstance(step.get("inputs"), Mapping) else None

    def source(self, step: Step | None, *names: str) -> Step | None:
        """The node that the first linked one of these inputs comes from; None where none is linked."""
        for name in names:
            value = None if step is None else step["inputs"].get(name)
            if is_link(value):
                return self.step(value[0])
        return None

    def target(self, node: Any, output: int, class_types: frozenset[str], name: str) -> Step | None:
        """The first node of one of these classes whose input `name` is an output of a node; None where there is none."""
        for step in (self.nodes or {}).values():
            value = step.get("inputs", {}).get(name)
            linked = is_link(value) and [str(value[0]), value[1]] == [str(node), output]
            if linked and step.get("class_type") in class_types:
                return step
        return None


def is_link(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether an input's value is a link [node id, output] to another node."""
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], int)
