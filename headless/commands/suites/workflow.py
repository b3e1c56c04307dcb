"""A workflow that a suite runs: the nodes that an episode fills, and the technique nodes that can be left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....benchmarks.suites.files import PromptedVideo
from ...running.runs import local_nodes
from ...workflows.errors import WorkflowError
from ...workflows.workflow import Link, Node, Workflow, to_api

PLAIN, TREATED = "plain", "treated"
ARMS = (PLAIN, TREATED)
IMAGE, PROMPTS, SAMPLER, SAVE = "Start image", "Prompts", "Sampler", "Save"
# The title of each node that an episode fills, and the inputs that it fills.
FILLED_INPUTS = {
    IMAGE: ("image",),
    PROMPTS: ("text", "syntax", "seconds"),
    SAMPLER: ("seconds", "latent_frames", "seed"),
    SAVE: ("filename_prefix",),
}
PASSED_THROUGH = (
    "model"  # the input that takes the place of a technique node's output where the node is removed
)
VERSION = 1  # of how a workflow is filled: videos of another version are made anew


@dataclass(frozen=True)
class SuiteWorkflow:
    """A workflow that has every node that an episode fills.

    workflow: all nodes by id.
    node_ids: the id of the node with each title of FILLED_INPUTS.
    """

    workflow: Workflow
    node_ids: Mapping[str, str]

    @classmethod
    def of(cls, workflow: Workflow, name: str) -> SuiteWorkflow:
        """Finds the nodes by their titles; raises WorkflowError with a sentence for everything that is missing.

        `name` is how the sentences call the workflow.
        """
        problems = [problem for title in FILLED_INPUTS for problem in _title_problems(workflow, title)]
        if not problems:
            found = cls(workflow, {title: _titled(workflow, title)[0].id for title in FILLED_INPUTS})
            problems = list(found._problems())
        if problems:
            raise WorkflowError([f"The workflow {name}{problem}" for problem in problems])
        return found

    def _problems(self) -> Iterator[str]:
        sampler = self.workflow[self.node_ids[SAMPLER]]
        if not isinstance(sampler.inputs.get("timeline"), Link):
            yield f": {sampler} has no timeline connected, so the prompt would never change."
        elif not self.techniques():
            yield " has no technique node between loader and sampler: nothing to compare with plain."

    @property
    def window(self) -> int:
        """Latent frames of a section."""
        return int(self.workflow[self.node_ids[SAMPLER]].inputs["window"])

    @property
    def save_node(self) -> str:
        """The id of the node that saves the video."""
        return self.node_ids[SAVE]

    def techniques(self) -> list[Node]:
        """The technique nodes, in the order of the file."""
        known = technique_classes()
        return [node for node in self.workflow.values() if node.class_type in known]

    def arm(self, name: str) -> SuiteWorkflow:
        """The workflow as it is (treated), or with its technique nodes removed and their MODEL passed through."""
        if name == TREATED:
            return self
        removed = {node.id: node for node in self.techniques()}
        workflow = {
            node.id: replace(
                node, inputs={key: _without(value, removed) for key, value in node.inputs.items()}
            )
            for node in self.workflow.values()
            if node.id not in removed
        }
        return replace(self, workflow=workflow)

    def filled(self, episode: PromptedVideo, seed: int, prefix: str) -> Workflow:
        """A copy that makes an episode's video with a seed and saves it under a prefix."""
        values: dict[str, dict[str, Any]] = {
            IMAGE: {"image": episode.image},
            PROMPTS: {"text": episode.timeline(), "syntax": "brackets", "seconds": episode.seconds},
            SAMPLER: {"seconds": episode.seconds, "latent_frames": 0, "seed": seed},
            SAVE: {"filename_prefix": prefix},
        }
        changed = {self.node_ids[title]: inputs for title, inputs in values.items()}
        return {
            node.id: replace(node, inputs={**node.inputs, **changed.get(node.id, {})})
            for node in self.workflow.values()
        }

    def key(self, episode: PromptedVideo, seed: int, image: Path) -> str:
        """A name for a video, made of everything in the filled workflow and of the start image's content."""
        content = [
            VERSION,
            to_api(self.filled(episode, seed, "")),
            hashlib.sha256(image.read_bytes()).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def technique_classes() -> set[str]:
    """The pack's nodes that take a MODEL and return it with a technique added."""
    from ....nodes.techniques.base import TechniqueNode

    return {
        name
        for name, node in local_nodes().items()
        if getattr(node, "CATEGORY", "") == TechniqueNode.CATEGORY
        and getattr(node, "RETURN_TYPES", ()) == TechniqueNode.RETURN_TYPES
    }


def _titled(workflow: Workflow, title: str) -> list[Node]:
    return [node for node in workflow.values() if node.title == title]


def _title_problems(workflow: Workflow, title: str) -> Iterator[str]:
    """What is wrong with the node of a title, as the rest of a sentence that begins with the workflow's name."""
    found, inputs = _titled(workflow, title), FILLED_INPUTS[title]
    if len(found) != 1:
        yield (
            f" has {len(found) or 'no'} nodes titled {title!r}; the suite fills {' and '.join(inputs)} of exactly one."
        )
        return
    for name in inputs:
        if name not in found[0].inputs:
            yield f": {found[0]} has no input {name!r} for the suite to fill."


def _without(value: Any, removed: Mapping[str, Node]) -> Any:
    """What an input takes once these nodes are removed: links to them go to their MODEL's source instead."""
    for _ in removed:
        if isinstance(value, Link) and value.node in removed:
            value = removed[value.node].inputs.get(PASSED_THROUGH, value)
    return value
