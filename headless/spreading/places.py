"""The places that do units of work: this process, ComfyUI servers, or a cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..files.folders import Folders
from ..running.runs import LocalRunner, Runner, ServerRunner
from ..running.server import Server, ServerGone
from ..workflows.errors import WorkflowError
from ..workflows.specs import NodeSpec
from ..workflows.workflow import Workflow
from .cluster import ClusterRunner, connected

logger = logging.getLogger(__name__)

# Units that a cluster has at a time: it divides them among its workers, also among those that join later.
CLUSTER_PLACES = 64
PATIENCE_SECONDS = 30.0  # that a unit waits for a server that is gone before another place does it


@dataclass(frozen=True, eq=False)
class Place:
    """Where units are done, one at a time.

    name: what messages call it.
    runner: runs workflows there.
    answers: whether it can be reached now.
    """

    name: str
    runner: Runner
    answers: Callable[[], bool] = lambda: True


@contextmanager
def opened_places(servers: Sequence[str], cluster: str | None) -> Iterator[list[Place]]:
    """The places of these servers, or of a cluster at this address; this process where there is neither.

    With a cluster a single server may be named: its address as each worker sees it. Raises WorkflowError for what is no
    address, and where no cluster answers.
    """
    if cluster is None:
        yield _servers(servers) or [Place("this process", LocalRunner())]
        return
    if len(servers) > 1:
        raise WorkflowError(
            f"--server is given {len(servers)} times with --dask: with a cluster it is the address of the ComfyUI beside "
            "each worker, such as http://127.0.0.1:8188; give it once, or leave out --dask."
        )
    with connected(cluster) as client:
        runner = ClusterRunner(client, cluster, *servers)
        yield [Place(f"the cluster {cluster}", runner, runner.answers) for _ in range(CLUSTER_PLACES)]


def _servers(urls: Sequence[str]) -> list[Place]:
    """A place for each server; one of several is not waited for as long as a single one."""
    named = list(dict.fromkeys(url.rstrip("/") for url in urls))
    patience = PATIENCE_SECONDS if len(named) > 1 else None
    runners = [ServerRunner(url, patience=patience) for url in named]
    return [Place(runner.server.url, runner, partial(_is_back, runner.server)) for runner in runners]


def _is_back(server: Server) -> bool:
    """Whether a server that was gone answers; what it still has of this client is being done elsewhere, and cancelled."""
    try:
        server.cancel_all()
    except WorkflowError:
        return False
    return True


def load_for(
    places: Sequence[Place], workflow: Path, folders: Folders
) -> tuple[Workflow, Mapping[str, NodeSpec]]:
    """Reads a workflow file, and the specs of its node classes at the first place that answers.

    Raises WorkflowError where a place does not have all node classes, and ServerGone where none answers. A place that does not
    answer is named in the log: it gets work when it does.
    """
    loaded, gone = [], []
    for runner in dict.fromkeys(place.runner for place in places):
        try:
            loaded.append(runner.load(workflow, folders))
        except ServerGone as error:
            gone.append(error)
    if not loaded:
        raise gone[0]
    for reason in gone:
        logger.warning("%s It gets work when it answers.", reason)
    return loaded[0]
