"""The runs of a sweep on disk: a folder for each unit, which is finished when its report lies there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....nodes.files.reading import DAMAGED
from ...files.folders import Folders
from ...running.progress import ProgressBars
from ...running.report import FILE_NAME, TRACE_TYPE, Record, traces_of, write_report
from ...running.runs import Runner
from ...running.server import ServerGone
from ...workflows.errors import WorkflowError
from ...workflows.specs import NodeSpec
from ...workflows.workflow import Link, Node, Workflow, copied
from .grid import Unit

UNITS = "units"  # the folder of all units, below the output folder
SHOW = "PreviewAny"  # ComfyUI's node that shows anything as text


@dataclass(frozen=True, eq=False)
class Run:
    """What came of a unit.

    unit: the unit.
    folder: where its files lie.
    report: its report; empty where it failed.
    problems: why it failed, in sentences; empty where it did not.
    """

    unit: Unit
    folder: Path
    report: Mapping[str, Any]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Makes the runs of a sweep.

    name: of the workflow file.
    specs: what is known of the workflow's node classes.
    folders: the input and output folder of the sweep.
    """

    name: str
    specs: Mapping[str, NodeSpec]
    folders: Folders

    def finished(self, unit: Unit) -> Run | None:
        """The run of a unit that an earlier sweep has finished, None otherwise."""
        folder = self._folder(unit)
        try:
            report = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
            files = [entry["path"] for kind in ("videos", "images") for entry in report[kind]]
        except (OSError, *DAMAGED):
            return None
        return Run(unit, folder, report) if all((folder / file).is_file() for file in files) else None

    def make(self, unit: Unit, runner: Runner, bars: ProgressBars) -> Run:
        """Runs a unit; one that fails is a result too, and leaves nothing. Raises ServerGone and what ends all work."""
        folder = self._folder(unit)
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        try:
            return self._make(unit, folder, runner, bars)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, WorkflowError) and not isinstance(error, ServerGone):
                return Run(unit, folder, {}, error.problems)
            raise

    def _make(self, unit: Unit, folder: Path, runner: Runner, bars: ProgressBars) -> Run:
        record, facts = Record(folder), runner.facts()
        workflow = with_shown_traces(unit.workflow, self.specs) if facts else copied(unit.workflow)
        places = Folders(self.folders.input, folder, self.folders.records)
        specs = {**self.specs, SHOW: _SHOWS_TEXT}
        runner.run(workflow, specs, places=places, record=record, bars=bars)
        traces = record.traces or [{"node": None, "trace": trace} for trace in traces_of(record)]
        report = {**record.report("run"), "workflow": self.name, **facts, "traces": traces}
        # Written last: only a run with its report counts as finished.
        path = write_report(folder / FILE_NAME, {**report, "values": unit.values})
        return Run(unit, folder, json.loads(path.read_text(encoding="utf-8")))

    def _folder(self, unit: Unit) -> Path:
        """The folder of a unit, which another sweep may have named by other values."""
        units = self.folders.output / UNITS
        return next(iter(sorted(units.glob(f"*_{unit.digest}"))), units / unit.name)


_SHOWS_TEXT = NodeSpec(SHOW, {}, is_output=True)


def with_shown_traces(workflow: Workflow, specs: Mapping[str, NodeSpec]) -> Workflow:
    """A copy in which every trace is shown as text: a server gives back only what nodes show."""
    shown = {
        (value.node, value.output)
        for node in workflow.values()
        if node.class_type == SHOW
        for _, value in node.links()
    }
    added = copied(workflow)
    for node in workflow.values():
        for output, kind in enumerate(specs[node.class_type].outputs):
            if kind == TRACE_TYPE and (node.id, output) not in shown:
                name = f"trace_{node.id}"
                added[name] = Node(name, SHOW, SHOW, {"source": Link(node.id, output)})
    return added
