"""Runs workflows on the workers of a dask.distributed cluster, to which inputs go and from which files come as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ...nodes.files.reading import said
from ...samplers.progress import Interrupted
from ..files.folders import Folders
from ..running.fetching import without_counter
from ..running.progress import ProgressBars
from ..running.report import Record
from ..running.server import ServerGone
from ..workflows.convert import load_workflow
from ..workflows.errors import WorkflowError
from ..workflows.executor import describe
from ..workflows.specs import NodeSpec
from ..workflows.validation import fill_defaults
from ..workflows.workflow import Workflow, loaded_files, to_api
from .worker import LISTS, known_specs, run_workflow

CONNECT_SECONDS, POLL_SECONDS = 10, 0.5


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The client of a cluster whose scheduler is at this address; raises WorkflowError where there is none."""
    try:
        from distributed import Client
    except ImportError as error:
        raise WorkflowError("--dask needs the package distributed: pip install distributed.") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise WorkflowError(
            f"No dask scheduler answers at {address} ({said(error)}): start one with `dask scheduler`, or correct --dask."
        ) from error
    with client:
        yield client


class ClusterRunner:
    """Runs workflows on a cluster's workers, which need this package.

    client: of the cluster.
    address: where its scheduler is.
    server: the ComfyUI that a worker queues to, as it sees it; None runs in the worker with this pack's nodes.
    """

    def __init__(self, client: Any, address: str, server: str | None = None) -> None:
        self._client, self._address, self._server = client, address, server

    def specs(self, class_types: Iterable[str]) -> dict[str, NodeSpec]:
        """What a worker knows of these node classes; unknown ones are left out."""
        found: dict[str, NodeSpec] = self._ask(
            known_specs, sorted(class_types), self._server, bars=ProgressBars()
        )
        return found

    def load(self, path: Path, places: Folders) -> tuple[Workflow, Mapping[str, NodeSpec]]:
        """Reads a workflow file and the specs that a worker has of its node classes; raises WorkflowError."""
        return load_workflow(
            path, self.specs, f"the workers of the cluster {self._address} do not have it either"
        )

    def check(self, workflow: Workflow, places: Folders) -> None:
        """Nothing: a worker checks what it gets."""

    def run(
        self,
        workflow: Workflow,
        specs: Mapping[str, NodeSpec],
        *,
        places: Folders,
        record: Record,
        bars: ProgressBars,
    ) -> None:
        """Has a worker run the workflow and fetches what it makes into `record`; raises WorkflowError or Interrupted."""
        fill_defaults(workflow, specs)
        sent, files = _with_files(workflow, specs, places)
        made = self._ask(run_workflow, to_api(sent), files, self._server, bars=bars)
        if made["problems"]:
            raise WorkflowError(made["problems"])
        _keep(made, places, record)

    def facts(self) -> dict[str, Any]:
        """What the report says about the place: the cluster's address, and the server beside each worker."""
        return {"dask": self._address, **({"server": self._server} if self._server else {})}

    def answers(self) -> bool:
        """Whether the cluster can be reached."""
        return bool(self._client.status == "running")

    def _ask(self, function: Any, *arguments: Any, bars: ProgressBars) -> Any:
        """What a worker gives for a function, which is not asked for twice; raises WorkflowError where none does."""
        from distributed import KilledWorker
        from distributed import TimeoutError as NotYet
        from distributed.comm import CommClosedError

        try:
            future = self._client.submit(function, *arguments)
            while True:
                try:
                    bars.check()
                    # An answer that is there takes as long as it takes to be fetched.
                    return future.result(timeout=None if future.done() else POLL_SECONDS)
                except NotYet:
                    if future.status == "error":  # perhaps it was the function that took too long
                        return future.result()
                except (KeyboardInterrupt, Interrupted):
                    future.cancel()
                    raise
        except KilledWorker as error:
            raise WorkflowError(
                f"The workers that had it died, one after the other: {said(error)}."
            ) from error
        except (CancelledError, CommClosedError) as error:
            raise ServerGone(f"The cluster {self._address} is gone ({said(error)}).") from error
        except (WorkflowError, Interrupted):
            raise
        except Exception as error:  # whatever a worker raises, such as that it does not have this package
            raise WorkflowError(
                f"A worker of the cluster {self._address} failed: {describe(error).rstrip('.')}. Workers need this package in "
                "this version."
            ) from error


def _with_files(
    workflow: Workflow, specs: Mapping[str, NodeSpec], places: Folders
) -> tuple[Workflow, dict[str, bytes]]:
    """The workflow with plain names of the files that it loads, and their contents by these names.

    A name that is not in the input folder stays as it is: the server beside the worker may have it.
    """
    sent, files = dict(workflow), dict[str, bytes]()
    for node, item, name in loaded_files(workflow, specs):
        try:
            path = places.input_file(name)
        except ValueError:
            continue
        plain = f"{len(files)}_{path.name}"
        files[plain] = path.read_bytes()
        sent[node.id] = replace(sent[node.id], inputs={**sent[node.id].inputs, item.name: plain})
    return sent, files


def _keep(made: Mapping[str, Any], places: Folders, record: Record) -> None:
    """Writes the files of a run under the next free names, and notes everything in `record`."""
    for name in LISTS:
        for entry in made[name]:
            if "path" in entry:
                path = PurePosixPath(entry["path"])
                prefix = (path.parent / without_counter(path.stem)).as_posix()
                with places.new_file(prefix, path.suffix) as file:
                    file.unfinished.write_bytes(made["files"][entry["path"]])
                entry = {**entry, "path": record.relative(file.path)}
            getattr(record, name).append(entry)
