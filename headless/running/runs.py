"""One run from a workflow file to its report, in this process or on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..files import folders
from ..files.folders import Folders
from ..host import CORE_NODES
from ..workflows.convert import load_workflow
from ..workflows.executor import HINT, execute, prepare
from ..workflows.specs import NodeSpec, specs_of
from ..workflows.workflow import Setting, Workflow, apply_settings
from . import client
from .progress import Bars
from .report import Record
from .server import Server

EXAMPLES = "example_workflows"
PACK = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """A workflow file, the changes to it and the folders of its run."""

    workflow: Path
    folders: Folders
    settings: Sequence[Setting] = ()


def input_folder_for(workflow: Path) -> Path:
    """The input folder of the pack whose example this is, else the folder `input` beside the workflow."""
    for folder in workflow.resolve().parents:
        if folder.name == EXAMPLES:
            return folder / "input"
    return workflow.resolve().parent / "input"


@cache
def local_nodes() -> dict[str, type]:
    """The node classes that run without ComfyUI: the core ones of this package and the pack's own."""
    from ...nodes import NODE_CLASS_MAPPINGS

    return {**CORE_NODES, **NODE_CLASS_MAPPINGS}


class Here:
    """Runs workflows in this process."""

    def load(self, path: Path, places: Folders) -> tuple[Workflow, Mapping[str, NodeSpec]]:
        """Reads a workflow file and what is known of its classes; raises WorkflowError."""
        nodes = local_nodes()
        with folders.using(places):
            return load_workflow(path, lambda names: specs_of(nodes, names), HINT)

    def run(
        self,
        workflow: Workflow,
        specs: Mapping[str, NodeSpec],
        places: Folders,
        record: Record,
        bars: Bars,
    ) -> None:
        """Runs the workflow, filling `record`; raises WorkflowError or Interrupted."""
        nodes = local_nodes()
        with folders.using(places):
            execute(prepare(workflow, nodes), nodes, (bars, record))


class There:
    """Runs workflows on the ComfyUI at an address; raises WorkflowError for what is no address."""

    def __init__(self, url: str) -> None:
        self.server = Server(url)

    def load(self, path: Path, places: Folders) -> tuple[Workflow, Mapping[str, NodeSpec]]:
        """Reads a workflow file and what the server knows of its classes; raises WorkflowError."""
        hint = f"the ComfyUI at {self.server.url} does not have it either"
        return load_workflow(path, self.server.specs, hint)

    def run(
        self,
        workflow: Workflow,
        specs: Mapping[str, NodeSpec],
        places: Folders,
        record: Record,
        bars: Bars,
    ) -> None:
        """Queues the workflow, and fetches its files into `record`; raises WorkflowError."""
        client.upload_inputs(workflow, specs, self.server, places)
        client.run_on_server(workflow, self.server, places, record, bars)


def run_here(job: Job, record: Record, bars: Bars) -> dict[str, Any]:
    """Runs the job in this process, filling `record`; raises WorkflowError or Interrupted."""
    _run(Here(), job, record, bars)
    return {"workflow": job.workflow.name}


def run_there(job: Job, url: str, record: Record, bars: Bars) -> dict[str, Any]:
    """Runs the job on the ComfyUI at `url` and fetches its files; raises WorkflowError."""
    venue = There(url)
    _run(venue, job, record, bars)
    return {"workflow": job.workflow.name, "server": venue.server.url}


def _run(venue: Here | There, job: Job, record: Record, bars: Bars) -> None:
    workflow, specs = venue.load(job.workflow, job.folders)
    apply_settings(workflow, job.settings, specs)
    venue.run(workflow, specs, job.folders, record, bars)
