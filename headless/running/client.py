"""Queues a workflow to a running ComfyUI, shows its progress and fetches what it wrote.

Plain HTTP does the work; a WebSocket only brings the progress. Whether a run has ended is read from `/queue`
and `/history`, so that a lost WebSocket costs the bars and nothing else.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from ...nodes.runtime import PREVIEWS
from ..files.folders import Folders
from ..workflows.errors import WorkflowError
from ..workflows.specs import NodeSpec
from ..workflows.workflow import Node, Workflow, to_api
from .progress import Bars
from .report import Record

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60
POLL_SECONDS = 1.0
_COUNTER = re.compile(r"_\d+_?$")


class Server:
    """The HTTP interface of one ComfyUI; every method raises WorkflowError when it cannot be reached."""

    def __init__(self, url: str) -> None:
        if "://" not in url:
            url = f"http://{url}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise WorkflowError(f"--server takes an address like http://127.0.0.1:8188, got {url!r}.")
        self.url = url.rstrip("/")
        self.client_id = uuid.uuid4().hex

    @property
    def events_url(self) -> str:
        """Where the WebSocket with the progress of this client is."""
        return f"ws{self.url.removeprefix('http')}/ws?clientId={self.client_id}"

    def specs(self, class_types: Iterable[str]) -> dict[str, NodeSpec]:
        """What the server knows about these node classes; unknown ones are left out."""
        found = {name: self._json(f"/object_info/{quote(name, safe='')}").get(name) for name in class_types}
        return {name: NodeSpec.from_server(name, info) for name, info in found.items() if info}

    def upload(self, path: Path) -> str:
        """Puts a file into the server's input folder and returns the name that it has there."""
        boundary = uuid.uuid4().hex
        name = path.name.replace('"', "_")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = self._json("/upload/image", body, f"multipart/form-data; boundary={boundary}")
        return "/".join(filter(None, (answer.get("subfolder"), answer["name"])))

    def queue(self, workflow: Workflow) -> str:
        """Queues the workflow and returns its prompt id; raises WorkflowError naming the refused nodes."""
        body = json.dumps({"prompt": to_api(workflow), "client_id": self.client_id}).encode()
        try:
            with self._open("/prompt", body) as response:
                answer = json.load(response)
        except HTTPError as error:
            raise WorkflowError(_refusals(_json_of(error), workflow)) from error
        for problem in _node_problems(answer.get("node_errors"), workflow):
            logger.warning("%s", problem)
        return answer["prompt_id"]

    def result(self, prompt_id: str) -> dict[str, Any] | None:
        """The finished run's entry of the history, None while it is queued or running."""
        # The queue is asked first: what leaves it is in the history from that moment on.
        queue = self._json("/queue")
        waiting = {entry[1] for name in ("queue_running", "queue_pending") for entry in queue.get(name, ())}
        entry = self._json(f"/history/{prompt_id}").get(prompt_id)
        if entry is None and prompt_id not in waiting:
            raise WorkflowError(
                f"The server {self.url} no longer knows the queued workflow: was it restarted or cleared?"
            )
        return entry

    def cancel(self, prompt_id: str) -> None:
        """Takes the workflow out of the queue, or interrupts it when it is running."""
        for path, body in (("/queue", {"delete": [prompt_id]}), ("/interrupt", {"prompt_id": prompt_id})):
            with self._open(path, json.dumps(body).encode()):
                pass

    def download(self, file: Mapping[str, str], target: Path) -> None:
        """Fetches one written file, described by filename, subfolder and type."""
        with self._open(f"/view?{urlencode(dict(file))}") as response, target.open("wb") as output:
            shutil.copyfileobj(response, output)

    def _json(self, path: str, body: bytes | None = None, content_type: str = "application/json") -> Any:
        with self._open(path, body, content_type) as response:
            return json.load(response)

    @contextmanager
    def _open(
        self, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> Iterator[Any]:
        request = Request(self.url + path, data=body, headers={"Content-Type": content_type} if body else {})
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                yield response
        except HTTPError as error:
            if path == "/prompt":
                raise
            raise WorkflowError(
                f"The server {self.url} answers {path.partition('?')[0]} with {error.code} {error.reason}."
            ) from error
        except (URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise WorkflowError(
                f"No ComfyUI answers at {self.url} ({reason}): start it, or correct --server."
            ) from error
        except ValueError as error:
            raise WorkflowError(
                f"The server {self.url} answers {path.partition('?')[0]} with something other than JSON: "
                "is it a ComfyUI?"
            ) from error


def _json_of(error: HTTPError) -> Mapping[str, Any]:
    try:
        answer = json.load(error)
    except ValueError:
        answer = None
    return answer if isinstance(answer, Mapping) else {"error": {"message": f"{error.code} {error.reason}"}}


def _refusals(answer: Mapping[str, Any], workflow: Workflow) -> list[str]:
    problems = list(_node_problems(answer.get("node_errors"), workflow))
    if problems:
        return problems
    error = answer.get("error") or {}
    text = (
        ": ".join(filter(None, (error.get("message"), error.get("details"))))
        if isinstance(error, Mapping)
        else str(error)
    )
    return [f"The server refuses the workflow: {' '.join(text.split()) or 'it does not say why'}."]


def _node_problems(node_errors: Any, workflow: Workflow) -> Iterator[str]:
    # An empty table of errors is a list in some versions.
    for node_id, entry in dict(node_errors or {}).items():
        name = str(workflow.get(node_id) or f"node {node_id} {entry.get('class_type', '')}".strip())
        for error in entry.get("errors", ()):
            text = ": ".join(filter(None, (error.get("message"), error.get("details"))))
            yield f"The server refuses {name}: {text}."


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


def run_on_server(workflow: Workflow, server: Server, folders: Folders, record: Record, bars: Bars) -> None:
    """Queues the workflow, waits for its end and brings its files and texts into `record`.

    Raises WorkflowError when the server refuses it or a node fails. KeyboardInterrupt cancels the run there.
    """
    with _events(server) as events:
        prompt_id = server.queue(workflow)
        try:
            entry = _wait(server, prompt_id, events, workflow, bars)
        except KeyboardInterrupt:
            server.cancel(prompt_id)
            raise
    _raise_failure(entry.get("status") or {}, workflow)
    for node_id, shown in entry.get("outputs", {}).items():
        node = workflow.get(node_id) or Node(node_id, "?", "", {})
        for text in shown.get("text", ()):
            record.add_text(node, str(text))
        for file in _files(shown):
            record.add_file(node, _fetch(file, server, folders))


def _files(shown: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The written files among a node's messages to the interface, whatever they are listed under."""
    for entries in shown.values():
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and isinstance(entry.get("filename"), str):
                yield {key: str(entry.get(key, "")) for key in ("filename", "subfolder", "type")}


def _fetch(file: Mapping[str, str], server: Server, folders: Folders) -> Path:
    """Downloads a file under a counter of this side's own: the server's may be taken here."""
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


def _wait(server: Server, prompt_id: str, events: Any, workflow: Workflow, bars: Bars) -> dict[str, Any]:
    """Shows events until the run has ended, and returns its entry of the history."""
    connected, entry = True, None
    while entry is None:
        if connected:
            connected = _watch(events, prompt_id, workflow, bars)
        else:
            time.sleep(POLL_SECONDS)
        entry = server.result(prompt_id)
    return entry


def _watch(events: Any, prompt_id: str, workflow: Workflow, bars: Bars) -> bool:
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


def _handle(event: Mapping[str, Any], prompt_id: str, workflow: Workflow, bars: Bars) -> bool:
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


def _show(node_id: str, state: Mapping[str, Any], workflow: Workflow, bars: Bars) -> None:
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
