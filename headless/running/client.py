"""Queues a workflow to a running ComfyUI, shows its progress and fetches what it wrote.

Plain HTTP does the work; a WebSocket only brings the progress. Whether a run has ended is read from `/queue`
and `/history`, so that a lost WebSocket costs the bars and nothing else.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...nodes.files.reading import DAMAGED, said
from ...samplers.progress import Interrupted
from ..files.folders import Folders
from ..workflows.errors import WorkflowError
from ..workflows.specs import NodeSpec
from ..workflows.workflow import Node, Workflow, loaded_files
from .fetching import fetch, printable, shown_files
from .http import IDLE_SECONDS
from .patience import patiently
from .progress import ProgressBars
from .report import Record, is_result
from .server import RunForgotten, Server, ServerGone

logger = logging.getLogger(__name__)

POLL_SECONDS, PONG_SECONDS = 1.0, 5.0
MOST_RESTARTS = 3  # of the server during one run: a workflow that ends it again and again is given up
MOST_MESSAGE = 2**25  # bytes of an event; the largest are previews


def upload_inputs(
    workflow: Workflow, specs: Mapping[str, NodeSpec], server: Server, folders: Folders
) -> None:
    """Uploads every input file that the workflow loads, and puts in the name that it got on the server.

    A file that only the server has stays as it is. Raises WorkflowError when neither has it.
    """
    problems = []
    for node, item, name in loaded_files(workflow, specs):
        try:
            node.inputs[item.name] = server.upload(folders.input_file(name))
        except ValueError as error:
            if name not in (item.choices or ()):
                problems.append(f"Input {item.name} of {node}: {error}.")
    if problems:
        raise WorkflowError(problems)


def run_on_server(
    workflow: Workflow, server: Server, *, folders: Folders, record: Record, bars: ProgressBars
) -> None:
    """Queues the workflow, waits for its end and brings its files and texts into `record`.

    A server that is restarted meanwhile gets the workflow again. Raises WorkflowError when the server refuses it or a node
    fails. KeyboardInterrupt cancels the run there.
    """
    entry = _run_to_its_end(workflow, server, bars)
    with server.understood():
        _raise_failure(entry.get("status") or {}, workflow)
        for node_id, ui in entry.get("outputs", {}).items():
            node = workflow.get(node_id) or Node(node_id, "?", "", {})
            for text in ui.get("text", ()):
                record.add_text(node, printable(str(text)))
            for file in filter(is_result, shown_files(ui)):
                record.add_file(node, fetch(file, server, folders, bars))


class _Restarted(WorkflowError):
    """The server was restarted in the middle of the run."""


def _run_to_its_end(workflow: Workflow, server: Server, bars: ProgressBars) -> dict[str, Any]:
    """The finished run's entry of the history."""
    for _ in range(MOST_RESTARTS):
        try:
            return _run_once(workflow, server, bars)
        except _Restarted as restart:
            logger.warning("%s The workflow is queued again.", restart)
    return _run_once(workflow, server, bars)


def _run_once(workflow: Workflow, server: Server, bars: ProgressBars) -> dict[str, Any]:
    with _events(server) as events:
        prompt_id = server.queue(workflow)
        try:
            return _wait(server, prompt_id, events, workflow=workflow, bars=bars)
        except RunForgotten as error:
            if _is_open(events):
                raise
            raise _Restarted(f"The server {server.url} was restarted while the workflow ran.") from error
        except (KeyboardInterrupt, Interrupted):
            _cancel(server, prompt_id)
            raise


def _is_open(events: Any) -> bool:
    """Whether the server still answers on the connection; one that was restarted does not."""
    from websockets.exceptions import ConnectionClosed

    try:
        return bool(events.ping().wait(PONG_SECONDS))
    except ConnectionClosed:
        return False


def _cancel(server: Server, prompt_id: str) -> None:
    """Cancel a run, if the server can be reached."""
    try:
        server.cancel(prompt_id)
    except WorkflowError as error:
        logger.warning("The run could not be cancelled on the server: %s", error)


@contextmanager
def _events(server: Server) -> Iterator[Any]:
    """The WebSocket of this client; raises WorkflowError when it cannot be opened."""
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError as error:
        raise WorkflowError("--server needs the package websockets: pip install 'websockets>=12'.") from error
    try:
        socket = connect(server.events_url, max_size=MOST_MESSAGE, open_timeout=IDLE_SECONDS, close_timeout=1)
    except (OSError, EOFError, ValueError, WebSocketException) as error:
        raise ServerGone(
            f"No ComfyUI answers at {server.url} ({said(error)}): start it, or correct --server."
        ) from error
    with socket:
        yield socket


def _wait(
    server: Server, prompt_id: str, events: Any, *, workflow: Workflow, bars: ProgressBars
) -> dict[str, Any]:
    """Shows events until the run has ended, and returns its entry of the history."""
    connected, entry = True, None
    while entry is None:
        if connected:
            connected = _watch(events, prompt_id, workflow, bars)
        else:
            time.sleep(POLL_SECONDS)
        entry = patiently(lambda: server.result(prompt_id), server, bars)
    return entry


def _watch(events: Any, prompt_id: str, workflow: Workflow, bars: ProgressBars) -> bool:
    """Shows events for POLL_SECONDS or until the run may have ended; False when the connection is lost."""
    from websockets.exceptions import ConnectionClosed

    deadline = time.monotonic() + POLL_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            message = events.recv(timeout=left)
        except TimeoutError:
            return True
        except ConnectionClosed:
            logger.warning("The server closed the progress connection; still waiting for the result.")
            return False
        # Binary messages are previews.
        if isinstance(message, str) and _read_event(message, prompt_id, workflow, bars):
            return True
    return True


def _read_event(message: str, prompt_id: str, workflow: Workflow, bars: ProgressBars) -> bool:
    """Shows one event, or leaves it out where it is malformed; returns whether the run may have ended."""
    try:
        return _handle(json.loads(message), prompt_id, workflow, bars)
    except DAMAGED as error:
        logger.info("An event of the server is left out: %s", said(error))
        return False


def _handle(event: Mapping[str, Any], prompt_id: str, workflow: Workflow, bars: ProgressBars) -> bool:
    """Shows one event; returns whether the run may have ended."""
    data = event.get("data") or {}
    if data.get("prompt_id") != prompt_id:
        return False
    if event.get("type") == "progress_state":
        for node_id, state in data.get("nodes", {}).items():
            _show(node_id, state, workflow, bars)
    elif event.get("type") == "progress":
        _show(str(data.get("node")), data, workflow, bars)
    return event.get("type") in ("execution_success", "execution_error", "execution_interrupted") or (
        event.get("type") == "executing" and data.get("node") is None
    )


def _show(node_id: str, state: Mapping[str, Any], workflow: Workflow, bars: ProgressBars) -> None:
    # Nodes without steps of their own count from 0 to 1: a bar for each of them would only be noise.
    if state["max"] <= 1 or state.get("state") == "pending":
        return
    node = workflow.get(node_id.partition(":")[0])  # behind a colon is the node that it was expanded to
    if node is None:
        return
    bars.update(node_id, printable(node.title), int(state["value"]), int(state["max"]))
    if state.get("state") == "finished":
        bars.close(node_id)


def _raise_failure(status: Mapping[str, Any], workflow: Workflow) -> None:
    if status.get("status_str") != "error":
        return
    for kind, data in status.get("messages", ()):
        node = (
            workflow.get(str(data.get("node_id")))
            or f"node {data.get('node_id')} {data.get('node_type', '')}"
        )
        if kind == "execution_interrupted":
            raise WorkflowError(f"The run was interrupted on the server at {node}.")
        if kind == "execution_error":
            text = " ".join(str(data.get("exception_message")).split()).rstrip(".")
            raise WorkflowError(f"On the server, {node} failed: {text}.")
    raise WorkflowError("The run failed on the server, which does not say why.")
