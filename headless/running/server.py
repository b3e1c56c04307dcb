"""The HTTP interface of a running ComfyUI."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request

from ...nodes.files.reading import DAMAGED, said, shortened
from ..workflows.errors import WorkflowError
from ..workflows.specs import NodeSpec
from ..workflows.workflow import Workflow, to_api
from .http import BrokenAnswer, RefusedAnswer, body_of, opened

logger = logging.getLogger(__name__)

ANSWER_SECONDS, MOST_JSON = 120.0, 2**25  # of an answer in JSON, and its bytes
FILE_SECONDS, MOST_FILE = 7200.0, 2**32  # of a file that goes up or comes down, and its bytes
AWAY = (502, 503, 504)  # what a proxy says while the server behind it is away


class ServerGone(WorkflowError):
    """The server does not answer now; it may do so later."""


class RunForgotten(WorkflowError):
    """The server knows nothing of a workflow that was queued: it was restarted, or its queue was cleared."""


class Server:
    """The HTTP interface of one ComfyUI; every method raises WorkflowError when it cannot be reached.

    patience: seconds that a run waits for it when it is gone in the middle; None is as long as usual.
    """

    def __init__(self, url: str, *, patience: float | None = None) -> None:
        if "://" not in url:
            url = f"http://{url}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise WorkflowError(f"--server takes an address like http://127.0.0.1:8188, got {url!r}.")
        self.url = url.rstrip("/")
        self.patience = patience
        self.client_id = uuid.uuid4().hex

    @property
    def events_url(self) -> str:
        """Where the WebSocket with the progress of this client is."""
        return f"ws{self.url.removeprefix('http')}/ws?clientId={self.client_id}"

    def specs(self, class_types: Iterable[str]) -> dict[str, NodeSpec]:
        """What the server knows about these node classes; unknown ones are left out."""
        with self.understood():
            found = {
                name: self._json(f"/object_info/{quote(name, safe='')}").get(name) for name in class_types
            }
            return {name: NodeSpec.from_server(name, info) for name, info in found.items() if info}

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Raises WorkflowError where the block meets an answer that no ComfyUI gives."""
        try:
            yield
        except DAMAGED as error:
            raise WorkflowError(
                f"The server {self.url} answers otherwise than a ComfyUI does ({said(error)}): is it one?"
            ) from error

    def upload(self, path: Path) -> str:
        """Puts a file into the server's input folder and returns the name that it has there."""
        boundary = uuid.uuid4().hex
        name = path.name.replace('"', "_")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        with self.understood():
            answer = self._json("/upload/image", body, kind, seconds=FILE_SECONDS)
            return "/".join(filter(None, (str(answer.get("subfolder") or ""), str(answer["name"]))))

    def queue(self, workflow: Workflow) -> str:
        """Queues the workflow and returns its prompt id; raises WorkflowError naming the refused nodes."""
        body = json.dumps({"prompt": to_api(workflow), "client_id": self.client_id}).encode()
        try:
            answer = self._json("/prompt", body)
        except HTTPError as error:
            with self.understood():
                raise WorkflowError(_refusals(_json_of(error), workflow)) from error
        with self.understood():
            for problem in _node_problems(answer.get("node_errors"), workflow):
                logger.warning("%s", shortened(problem))
            return str(answer["prompt_id"])

    def result(self, prompt_id: str) -> dict[str, Any] | None:
        """The finished run's entry of the history, None while it is queued or running."""
        # The queue is asked first: what leaves it is in the history from that moment on.
        with self.understood():
            queue = self._json("/queue")
            waiting = {
                entry[1] for name in ("queue_running", "queue_pending") for entry in queue.get(name, ())
            }
            entry: dict[str, Any] | None = self._json(f"/history/{quote(prompt_id, safe='')}").get(prompt_id)
        if entry is None and prompt_id not in waiting:
            raise RunForgotten(
                f"The server {self.url} no longer knows the queued workflow: was its queue cleared?"
            )
        return entry

    def cancel(self, prompt_id: str) -> None:
        """Takes the workflow out of the queue, or interrupts it when it is running."""
        for path, body in (("/queue", {"delete": [prompt_id]}), ("/interrupt", {"prompt_id": prompt_id})):
            self._tell(path, body)

    def interrupt(self) -> None:
        """Interrupts what the server executes, whoever has queued it."""
        self._tell("/interrupt", {})

    def forget(self) -> None:
        """Empties the server's caches of what nodes have returned."""
        self._tell("/free", {"free_memory": True})

    def cancel_all(self) -> None:
        """Cancels every workflow of this client that waits or runs, whoever has lost sight of it."""
        with self.understood():
            queue = self._json("/queue")
            entries = [*queue.get("queue_running", ()), *queue.get("queue_pending", ())]
            own = [entry[1] for entry in entries if entry[3].get("client_id") == self.client_id]
        for prompt_id in own:
            self.cancel(prompt_id)

    def download(self, file: Mapping[str, str], target: Path) -> None:
        """Fetches one written file, described by filename, subfolder and type."""
        view = f"/view?{urlencode(dict(file))}"
        with self._open(view, seconds=FILE_SECONDS) as response, target.open("wb") as output:
            for piece in body_of(response, MOST_FILE):
                output.write(piece)

    def _tell(self, path: str, body: Mapping[str, Any]) -> None:
        """Posts what has no answer that matters."""
        with self._open(path, json.dumps(body).encode()):
            pass

    def _json(
        self,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        *,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """The object in an answer."""
        with self._open(path, body, content_type, seconds=seconds) as response:
            answer = json.loads(b"".join(body_of(response, MOST_JSON)))
            if not isinstance(answer, dict):
                raise TypeError("the answer is no object")
            return answer

    @contextmanager
    def _open(
        self,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        *,
        seconds: float | None = None,
    ) -> Iterator[Any]:
        request = Request(self.url + path, data=body, headers={"Content-Type": content_type} if body else {})
        place = path.partition("?")[0]
        try:
            with opened(request, seconds=seconds or ANSWER_SECONDS) as response:
                yield response
        except HTTPError as error:
            if path == "/prompt" and error.code not in AWAY:
                raise
            kind = ServerGone if error.code in AWAY else WorkflowError
            raise kind(f"The server {self.url} answers {place} with {error.code} {error.reason}.") from error
        except (BrokenAnswer, RefusedAnswer) as error:
            kind = ServerGone if isinstance(error, BrokenAnswer) else WorkflowError
            raise kind(f"The server {self.url} answers {place} badly: {error}.") from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or said(error)
            raise ServerGone(
                f"No ComfyUI answers at {self.url} ({reason}): start it, or correct --server."
            ) from error
        except (ValueError, TypeError, RecursionError) as error:
            raise WorkflowError(
                f"The server {self.url} answers {place} with something other than JSON: is it a ComfyUI?"
            ) from error


def _json_of(error: HTTPError) -> Mapping[str, Any]:
    try:
        answer = json.loads(error.read(MOST_JSON))
    except (ValueError, RecursionError, OSError, HTTPException):
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
