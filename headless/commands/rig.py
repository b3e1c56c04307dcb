"""A workflow as TransitionBench uses it: the places that an episode fills, and the techniques that can be left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...benchmarks.suites.scripts import Script
from ..running.runs import local_nodes
from ..workflows.errors import WorkflowError
from ..workflows.workflow import Link, Node, Workflow, to_api

PLAIN, TREATED = "plain", "treated"
ARMS = (PLAIN, TREATED)
IMAGE, PROMPTS, SAMPLER, SAVE = "Start image", "Prompts", "Sampler", "Save"
# The node of each title, and its inputs that an episode fills.
PLACES = {
    IMAGE: ("image",),
    PROMPTS: ("text", "syntax", "seconds"),
    SAMPLER: ("seconds", "latent_frames", "seed"),
    SAVE: ("filename_prefix",),
}
PASSED_ON = "model"  # the input of a technique node that takes its output's place without it
VERSION = 1  # of how a workflow is filled: videos of another version are made anew


@dataclass(frozen=True)
class Rig:
    """A workflow with all places that an episode needs, found by their titles, and without what it saves."""

    workflow: Workflow
    places: Mapping[str, str]

    @classmethod
    def of(cls, workflow: Workflow, name: str) -> Rig:
        """Looks for the places and for techniques; raises WorkflowError with a sentence for each finding."""
        problems, places = [], {}
        for title, inputs in PLACES.items():
            found = [node for node in workflow.values() if node.title == title]
            if len(found) != 1:
                problems.append(
                    f"The workflow {name} has {len(found) or 'no'} nodes titled {title!r}; the suite fills "
                    f"{' and '.join(inputs)} of exactly one."
                )
                continue
            places[title] = found[0].id
            missing = [given for given in inputs if given not in found[0].inputs]
            problems += [
                f"The workflow {name}: {found[0]} has no input {given!r} for the suite to fill."
                for given in missing
            ]
        if not problems and not isinstance(workflow[places[SAMPLER]].inputs.get("timeline"), Link):
            problems.append(
                f"The workflow {name}: {workflow[places[SAMPLER]]} has no timeline connected, so the prompt would never "
                "change."
            )
        rig = cls(workflow, places)
        if not problems and not rig.techniques():
            problems.append(
                f"The workflow {name} has no technique node between loader and sampler: nothing to compare with plain."
            )
        if problems:
            raise WorkflowError(problems)
        return rig

    @property
    def window(self) -> int:
        """Latent frames of a section."""
        return int(self.workflow[self.places[SAMPLER]].inputs["window"])

    @property
    def saver(self) -> str:
        """The id of the node that saves the video."""
        return self.places[SAVE]

    def techniques(self) -> list[Node]:
        """The technique nodes, in the order of the file."""
        known = technique_classes()
        return [node for node in self.workflow.values() if node.class_type in known]

    def arm(self, name: str) -> Rig:
        """The workflow as it is (treated), or with its technique nodes removed and their MODEL passed through."""
        if name == TREATED:
            return self
        removed = {node.id: node for node in self.techniques()}
        workflow = {
            node.id: replace(node, inputs={key: _past(value, removed) for key, value in node.inputs.items()})
            for node in self.workflow.values()
            if node.id not in removed
        }
        return replace(self, workflow=workflow)

    def filled(self, script: Script, seed: int, prefix: str) -> Workflow:
        """A copy that makes an episode's video with a seed and saves it under a prefix."""
        values = {
            IMAGE: {"image": script.image},
            PROMPTS: {"text": script.timeline(), "syntax": "brackets", "seconds": script.seconds},
            SAMPLER: {"seconds": script.seconds, "latent_frames": 0, "seed": seed},
            SAVE: {"filename_prefix": prefix},
        }
        changed = {self.places[title]: inputs for title, inputs in values.items()}
        return {
            node.id: replace(node, inputs={**node.inputs, **changed.get(node.id, {})})
            for node in self.workflow.values()
        }

    def key(self, script: Script, seed: int, image: Path) -> str:
        """Names a video by all that the workflow says about it, and by the start image's content."""
        said = [
            VERSION,
            to_api(self.filled(script, seed, "")),
            hashlib.sha256(image.read_bytes()).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def technique_classes() -> set[str]:
    """The pack's nodes that take a MODEL and give it on with a technique."""
    from ...nodes.techniques.base import TechniqueNode

    return {
        name
        for name, node in local_nodes().items()
        if getattr(node, "CATEGORY", "") == TechniqueNode.CATEGORY
        and node.RETURN_TYPES == TechniqueNode.RETURN_TYPES
    }


def _past(value: Any, removed: Mapping[str, Node]) -> Any:
    """What a link leads to when these nodes pass on their MODEL; constants stay."""
    for _ in removed:
        if isinstance(value, Link) and value.node in removed:
            value = removed[value.node].inputs.get(PASSED_ON, value)
    return value
