"""One run from a workflow file to its report, in this process or on a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from ..files import folders
from ..files.folders import Folders
from ..host import CORE_NODES
from ..workflows.convert import load_workflow
from ..workflows.errors import WorkflowError
from ..workflows.executor import HINT, execute, prepare
from ..workflows.specs import NodeClasses, NodeSpec, specs_of
from ..workflows.validation import fill_defaults, output_nodes, warn_of_nothing_saved
from ..workflows.workflow import Setting, Workflow, apply_settings, copied
from . import client
from .progress import ProgressBars
from .report import Record
from .server import Server

EXAMPLES = "example_workflows"
LARGE, TINY = "framepack_", "tiny_"  # how names of examples begin, by the model that they need
PACK = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """A workflow file, the folders of its run, and the changes that --set makes to it."""

    workflow: Path
    folders: Folders
    settings: Sequence[Setting] = ()


class Runner(Protocol):
    """Reads workflow files and runs workflows, in one place."""

    def specs(self, class_types: Iterable[str]) -> dict[str, NodeSpec]:
        """What is known of these node classes there; unknown ones are left out."""

    def check(self, workflow: Workflow, places: Folders) -> None:
        """Raises WorkflowError for what is known to be wrong before the workflow runs."""

    def load(self, path: Path, places: Folders) -> tuple[Workflow, Mapping[str, NodeSpec]]:
        """Reads a workflow file and the specs of its node classes; raises WorkflowError."""

    def run(
        self,
        workflow: Workflow,
        specs: Mapping[str, NodeSpec],
        *,
        places: Folders,
        record: Record,
        bars: ProgressBars,
    ) -> None:
        """Runs the workflow and adds what it makes to `record`; raises WorkflowError or Interrupted."""

    def facts(self) -> dict[str, Any]:
        """What the report says about the place."""


class LocalRunner:
    """Runs workflows in this process, with the nodes of this pack and a few of ComfyUI's core nodes."""

    def specs(self, class_types: Iterable[str]) -> dict[str, NodeSpec]:
        """What is known of these node classes here; unknown ones are left out."""
        return specs_of(local_nodes(), class_types)

    def check(self, workflow: Workflow, places: Folders) -> None:
        """Raises WorkflowError for every input that does not fit; the workflow stays as it is."""
        with folders.using(places):
            prepare(copied(workflow), local_nodes())

    def load(self, path: Path, places: Folders) -> tuple[Workflow, Mapping[str, NodeSpec]]:
        """Reads a workflow file and the specs of its node classes; raises WorkflowError."""
        refuse_13b_example(path)
        with folders.using(places):
            return load_workflow(path, self.specs, HINT)

    def run(
        self,
        workflow: Workflow,
        specs: Mapping[str, NodeSpec],
        *,
        places: Folders,
        record: Record,
        bars: ProgressBars,
    ) -> None:
        """Runs the workflow and adds what it makes to `record`; raises WorkflowError or Interrupted."""
        nodes = local_nodes()
        with folders.using(places), places.without_previews():
            execute(prepare(workflow, nodes), nodes, (bars, record))

    def facts(self) -> dict[str, Any]:
        """What the report says about the place: nothing."""
        return {}


class ServerRunner:
    """Runs workflows on the ComfyUI at a URL; raises WorkflowError when that is not a URL.

    patience: seconds that a run waits for it when it is gone in the middle; None is as long as usual.
    """

    def __init__(self, url: str, *, patience: float | None = None) -> None:
        self.server = Server(url, patience=patience)

    def specs(self, class_types: Iterable[str]) -> dict[str, NodeSpec]:
        """What the server knows of these node classes; unknown ones are left out."""
        return self.server.specs(class_types)

    def check(self, workflow: Workflow, places: Folders) -> None:
        """Nothing: the server checks what is queued."""

    def load(self, path: Path, places: Folders) -> tuple[Workflow, Mapping[str, NodeSpec]]:
        """Reads a workflow file and the server's specs of its node classes; raises WorkflowError."""
        hint = f"the ComfyUI at {self.server.url} does not have it either"
        return load_workflow(path, self.specs, hint)

    def run(
        self,
        workflow: Workflow,
        specs: Mapping[str, NodeSpec],
        *,
        places: Folders,
        record: Record,
        bars: ProgressBars,
    ) -> None:
        """Queues the workflow and fetches the files it makes into `record`; raises WorkflowError."""
        fill_defaults(workflow, specs)
        warn_of_nothing_saved(output_nodes(workflow, specs), specs)
        client.upload_inputs(workflow, specs, self.server, places)
        client.run_on_server(workflow, self.server, folders=places, record=record, bars=bars)

    def facts(self) -> dict[str, Any]:
        """What the report says about the place: the server's URL."""
        return {"server": self.server.url}


def run_job(runner: Runner, job: Job, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Runs a job, adds what it makes to `record`, and returns facts for the report.

    Raises WorkflowError when the workflow is wrong or a node fails, and Interrupted.
    """
    workflow, specs = runner.load(job.workflow, job.folders)
    apply_settings(workflow, job.settings, specs)
    runner.run(workflow, specs, places=job.folders, record=record, bars=bars)
    return {"workflow": job.workflow.name, **runner.facts()}


def refuse_13b_example(path: Path) -> None:
    """Raises WorkflowError for an example of the 13B model, naming the same example with the embedded model."""
    twin = path.with_name(path.name.replace(LARGE, TINY, 1))
    if path.name.startswith(LARGE) and EXAMPLES in path.resolve().parts and twin.is_file():
        raise WorkflowError(
            f"The example {path.name} needs ComfyUI and the files of the 13B model: queue it with --server URL, or run "
            f"{twin}, the same with the embedded model."
        )


def input_folder_for(workflow: Path) -> Path:
    """The input folder of the pack whose example this is, else the folder `input` beside the workflow."""
    for folder in workflow.resolve().parents:
        if folder.name == EXAMPLES:
            return folder / "input"
    return workflow.resolve().parent / "input"


@cache
def local_nodes() -> NodeClasses:
    """The node classes that run without ComfyUI: the core ones of this package and the pack's own."""
    from ...nodes import NODE_CLASS_MAPPINGS

    return {**CORE_NODES, **NODE_CLASS_MAPPINGS}
