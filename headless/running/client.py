"""Queues a workflow to a running ComfyUI, shows its progress and fetches what it wrote.

Plain HTTP does the work; a WebSocket only brings the progress. Whether a run has ended is read from `/queue`
and `/history`, so that a lost WebSocket costs the bars and nothing else.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ...nodes.run_folders import PREVIEWS
from ..files.folders import Folders
from ..workflows.errors import WorkflowError
from ..workflows.specs import NodeSpec
from ..workflows.workflow import Node, Workflow
from .progress import ProgressBars
from .report import Record, is_result
from .server import TIMEOUT_SECONDS, Server

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_COUNTER = re.compile(r"_\d+_?$")


def upload_inputs(
    workflow: Workflow, specs: Mapping[str, NodeSpec], server: Server, folders: Folders
) -> None:
    """Uploads every input file that the workflow loads, and puts in the name that it got on the server.

    A file that only the server has stays as it is. Raises WorkflowError when neither has it.
    """
    problems = []
    for node in workflow.values():
        for item in specs[node.class_type].inputs.values():
            name = node.inputs.get(item.name)
            if not (item.upload and isinstance(name, str)):
                continue
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

    Raises WorkflowError when the server refuses it or a node fails. KeyboardInterrupt cancels the run there.
    """
    with _events(server) as events:
        prompt_id = server.queue(workflow)
        try:
            entry = _wait(server, prompt_id, events, workflow=workflow, bars=bars)
        except KeyboardInterrupt:
            server.cancel(prompt_id)
            raise
    _raise_failure(entry.get("status") or {}, workflow)
    for node_id, ui in entry.get("outputs", {}).items():
        node = workflow.get(node_id) or Node(node_id, "?", "", {})
        for text in ui.get("text", ()):
            record.add_text(node, str(text))
        for file in filter(is_result, _files(ui)):
            record.add_file(node, _fetch(file, server, folders))


def _files(ui: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The written files among a node's messages to the interface, whatever they are listed under."""
    for entries in ui.values():
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and isinstance(entry.get("filename"), str):
                yield {key: str(entry.get(key, "")) for key in ("filename", "subfolder", "type")}


def _fetch(file: Mapping[str, str], server: Server, folders: Folders) -> Path:
    """Downloads a file into the output folder, with the next free number: the server's may be taken there."""
    name = PurePosixPath(file["filename"].replace("\\", "/"))
    folder = PREVIEWS if file["type"] == "temp" else file["subfolder"].replace("\\", "/")
    prefix = "/".join(filter(None, (folder, _COUNTER.sub("", name.stem) or name.stem)))
    try:
        with folders.new_file(prefix, name.suffix) as target:
            server.download(file, target.unfinished)
    except ValueError as error:
        raise WorkflowError(f"The server names a file that cannot be written here: {error}.") from error
    return target.path


@contextmanager
def _events(server: Server) -> Iterator[Any]:
    """The WebSocket of this client; raises WorkflowError when it cannot be opened."""
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError as error:
        raise WorkflowError("--server needs the package websockets: pip install 'websockets>=12'.") from error
    try:
        socket = connect(server.events_url, max_size=None, open_timeout=TIMEOUT_SECONDS, close_timeout=1)
    except (OSError, WebSocketException) as error:
        raise WorkflowError(
            f"No ComfyUI answers at {server.url} ({error}): start it, or correct --server."
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
        entry = server.result(prompt_id)
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
        if isinstance(message, str) and _handle(json.loads(message), prompt_id, workflow, bars):
            return True
    return True


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
    node = workflow.get(node_id)
    bars.update(node_id, node.title if node else node_id, int(state["value"]), int(state["max"]))
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
