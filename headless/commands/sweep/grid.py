"""The values of a sweep, and the units that they make: one filled workflow for each combination."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ...files.folders import Folders
from ...workflows.errors import WorkflowError
from ...workflows.specs import SEED_NAMES, NodeSpec
from ...workflows.workflow import Setting, Workflow, apply_settings, copied, find_node, loaded_files, to_api

OPTION = "--grid"
VERSION = 1  # of what a digest is made from: units of another version are made anew
DIGITS, MOST_LETTERS = 12, 60  # of a digest, and of the values before it, in the name of a unit
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")


@dataclass(frozen=True)
class Axis:
    """One --grid: the input `input` of the node with this id or title, and the `values` that it gets, as typed."""

    node: str
    input: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """Reads NODE.INPUT=a,b,c, or a JSON list in place of a,b,c; raises ValueError."""
        setting = Setting.parse(text)
        values = _listed(setting.value)
        if not values:
            raise ValueError(f"got {text!r}, which gives no value: write at least one")
        if "" in values and len(values) != 1 and not setting.value.lstrip().startswith("["):
            raise ValueError(f"got {text!r}, in which a value is empty: remove a comma, or write a JSON list")
        return cls(setting.node, setting.input, tuple(dict.fromkeys(values)))

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.node}.{self.input}"

    @property
    def is_seed(self) -> bool:
        """Whether its values only make other takes of the same, over which plots average."""
        return self.input in SEED_NAMES

    def settings(self) -> list[Setting]:
        """What --set would say for each value."""
        return [Setting(self.node, self.input, value) for value in self.values]


def _listed(text: str) -> list[str]:
    """The values in a JSON list, each as --set would take it, or those between commas."""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if isinstance(values, list):
        return [value if isinstance(value, str) else json.dumps(value) for value in values]
    return [value.strip() for value in text.split(",")]


@dataclass(frozen=True, eq=False)
class Unit:
    """One run of a sweep.

    values: what the inputs get, by the name of their axis, as typed.
    workflow: the filled workflow.
    digest: a hash of everything that the run depends on in the workflow and its input files.
    """

    values: Mapping[str, str]
    workflow: Workflow
    digest: str

    @property
    def label(self) -> str:
        """The values in words."""
        return ", ".join(f"{name}={value}" for name, value in self.values.items())

    @property
    def name(self) -> str:
        """The name of its folder: its values as far as a name can hold them, and its digest."""
        words = [
            f"{name.rpartition('.')[2]}-{_UNSAFE.sub('_', value)}" for name, value in self.values.items()
        ]
        return f"{'_'.join(words)[:MOST_LETTERS].strip('._')}_{self.digest}"


def units_of(
    axes: Sequence[Axis], workflow: Workflow, specs: Mapping[str, NodeSpec], places: Folders
) -> list[Unit]:
    """A unit for every combination of values, the last axis changing fastest; equal ones are one.

    Raises WorkflowError for a node or an input that the workflow does not have, and for an input that two axes name.
    """
    _check(axes, workflow, specs)
    units: dict[str, Unit] = {}
    for settings in product(*(axis.settings() for axis in axes)):
        filled = copied(workflow)
        apply_settings(filled, settings, specs, option=OPTION)
        values = {axis.name: setting.value for axis, setting in zip(axes, settings)}
        unit = Unit(values, filled, _digest(filled, specs, places))
        units.setdefault(unit.digest, unit)
    return list(units.values())


def _check(axes: Sequence[Axis], workflow: Workflow, specs: Mapping[str, NodeSpec]) -> None:
    """Raises WorkflowError naming everything that is wrong once, not once for every combination."""
    apply_settings(copied(workflow), [axis.settings()[0] for axis in axes], specs, option=OPTION)
    inputs = [(find_node(workflow, axis.node, OPTION).id, axis.input) for axis in axes]
    twice = {place: axis.name for axis, place in zip(axes, inputs) if inputs.count(place) > 1}
    if twice:
        raise WorkflowError(
            [f"{OPTION} names {name} twice: give all its values at once." for name in twice.values()]
        )


def _digest(workflow: Workflow, specs: Mapping[str, NodeSpec], places: Folders) -> str:
    nodes = {name: (entry["class_type"], entry["inputs"]) for name, entry in sorted(to_api(workflow).items())}
    content: list[Any] = [VERSION, nodes, dict(_inputs(workflow, specs, places))]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _inputs(workflow: Workflow, specs: Mapping[str, NodeSpec], places: Folders) -> Iterator[tuple[str, str]]:
    """The files of the input folder that a workflow loads, with a hash of their contents."""
    for _, _, name in loaded_files(workflow, specs):
        try:
            path = places.input_file(name)
        except ValueError:  # it lies on the server alone, or nowhere, as a run will say
            continue
        yield name, hashlib.sha256(path.read_bytes()).hexdigest()
