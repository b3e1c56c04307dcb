"""One run from a workflow file to its report, in this process or on a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import client, core_nodes, folders
from .convert import load_workflow
from .executor import HINT, execute, prepare
from .folders import Folders
from .progress import Bars
from .report import Record
from .specs import specs_of
from .workflow import Setting, apply_settings

EXAMPLES = "example_workflows"
PACK = Path(__file__).resolve().parents[1]


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
    from ..nodes import NODE_CLASS_MAPPINGS

    return {**core_nodes.NODE_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS}


def run_here(job: Job, record: Record, bars: Bars) -> dict[str, Any]:
    """Runs the job in this process, filling `record`; raises WorkflowError or Interrupted."""
    nodes = local_nodes()
    with folders.using(job.folders):
        workflow, specs = load_workflow(job.workflow, lambda names: specs_of(nodes, names), HINT)
        apply_settings(workflow, job.settings, specs)
        execute(prepare(workflow, nodes), nodes, (bars, record))
    return {"workflow": job.workflow.name}


def run_there(job: Job, url: str, record: Record, bars: Bars) -> dict[str, Any]:
    """Runs the job on the ComfyUI at `url` and fetches its files; raises WorkflowError."""
    server = client.Server(url)
    workflow, specs = load_workflow(
        job.workflow, server.specs, f"the ComfyUI at {server.url} does not have it either"
    )
    apply_settings(workflow, job.settings, specs)
    client.upload_inputs(workflow, specs, server, job.folders)
    client.run_on_server(workflow, server, job.folders, record, bars)
    return {"workflow": job.workflow.name, "server": server.url}
