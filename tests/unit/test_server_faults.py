"""A server that answers badly, in each way that was thought of: a sentence that says so, within bounds of time and size."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets", reason="server runs need the package websockets")

from framepack_transitions.headless.cli import main
from framepack_transitions.headless.running import http, server
from framepack_transitions.headless.running.server import Server
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.workflow import Node

Reply = Callable[[socket.socket, threading.Event], None]


def answer(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> Reply:
    """Answers with a body; `length` is what is announced where that is not its own."""
    announced = len(body) if length is None else length

    def reply(there: socket.socket, over: threading.Event) -> None:
        there.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {announced}\r\n{headers}\r\n".encode() + body)

    return reply


def say(data: bytes) -> Reply:
    """Sends these bytes and closes."""
    return lambda there, over: there.sendall(data)


def without_end(begin: bytes, part: bytes) -> Reply:
    """Sends a beginning, and then the same again and again until the client has gone."""

    def reply(there: socket.socket, over: threading.Event) -> None:
        there.sendall(begin)
        while not over.wait(0.02 if len(part) == 1 else 0):
            there.sendall(part)

    return reply


def silence(there: socket.socket, over: threading.Event) -> None:
    """Sends nothing until the test is over."""
    over.wait()


def asked(value: Any) -> Reply:
    return answer(json.dumps(value).encode())


class BadServer:
    """Gives every request the same reply."""

    def __init__(self, reply: Reply) -> None:
        self._reply, self._over = reply, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                there, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(there,), daemon=True).start()

    def _answer(self, there: socket.socket) -> None:
        with there, suppress(OSError):
            there.recv(65536)
            self._reply(there, self._over)


@pytest.fixture
def bad_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Reply], BadServer]]:
    """Starts servers with a reply; bounds are small."""
    monkeypatch.setattr(http, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(server, "MOST_JSON", 5000)
    started: list[BadServer] = []

    def start(reply: Reply) -> BadServer:
        started.append(BadServer(reply))
        return started[-1]

    yield start
    for one in started:
        one.close()


OK = b"HTTP/1.1 200 OK\r\n"
MODES = {
    "a body shorter than announced": (answer(b'{"a": 1', length=100), "ends after 7 of 100 bytes"),
    "a body announced too large": (answer(b"{}", length=10**12), "has 1,000,000,000,000 bytes, at most"),
    "an endless body": (without_end(OK + b"\r\n", b" " * 4096), "has more than 5,000 bytes"),
    "a body in drops": (without_end(OK + b"Content-Length: 4000\r\n\r\n", b" "), "takes more than 0.5 s"),
    "headers in drops": (without_end(OK, b"a"), "takes more than 0.5 s"),
    "endless headers": (without_end(OK, b"a: b\r\n"), "No ComfyUI answers"),
    "a broken piece": (say(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"), "No ComfyUI answers"),
    "no size of a piece": (say(OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), "No ComfyUI answers"),
    "another protocol": (say(b"SSH-2.0-OpenSSH_9.6\r\n"), "No ComfyUI answers"),
    "an end at once": (say(b""), "No ComfyUI answers"),
    "silence": (silence, "No ComfyUI answers"),
    "no JSON": (answer(b"<html>hello</html>"), "something other than JSON"),
    "compressed": (
        answer(b"\x1f\x8b\x08\x00", headers="Content-Encoding: gzip\r\n"),
        "something other than JSON",
    ),
    "deep JSON": (answer(b"[" * 4900), "something other than JSON"),
    "a list": (asked([1]), "something other than JSON"),
    "null": (asked(None), "something other than JSON"),
    "a redirect away": (
        answer(b"", status="302 Found", headers="Location: http://elsewhere.invalid/\r\n"),
        "redirects to another host, elsewhere.invalid",
    ),
    "a circle of redirects": (
        answer(b"", status="302 Found", headers="Location: /object_info/Work\r\n"),
        "302",
    ),
    "a class that is none": (asked({"Work": 5}), "answers otherwise than a ComfyUI does"),
    "inputs that are none": (asked({"Work": {"input": [1]}}), "answers otherwise than a ComfyUI does"),
    "an error": (answer(b"oh", status="500 Oh\x1b[31m"), "with 500"),
    "a proxy's error": (answer(b"", status="502 Bad Gateway"), "with 502 Bad Gateway"),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_bad_answer_is_told_in_a_sentence(bad_server: Callable[[Reply], BadServer], mode: str) -> None:
    reply, words = MODES[mode]
    with pytest.raises(WorkflowError, match=words) as caught:
        Server(bad_server(reply).url).specs(["Work"])
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


@pytest.mark.parametrize("mode", MODES)
def test_no_bad_answer_ends_in_an_unexpected_error(
    bad_server: Callable[[Reply], BadServer], mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = tmp_path / "flow.json"
    workflow.write_text(json.dumps({"1": {"class_type": "Work", "inputs": {}}}), encoding="utf-8")
    url = bad_server(MODES[mode][0]).url
    assert main(["run", str(workflow), "--server", url, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert ("Unexpected" not in error and "server" in error.lower()) or "No ComfyUI answers" in error


NODE = Node("1", "Work", "Worker", {})
CALLS: dict[str, Callable[[Server, Path], Any]] = {
    "upload": lambda there, path: there.upload(path),
    "queue": lambda there, path: there.queue({"1": NODE}),
    "result": lambda there, path: there.result("0f4a"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "value",
    [{}, {"name": None}, {"prompt_id": [1], "node_errors": 7}, {"queue_running": 5}, {"queue_running": [[]]}],
)
def test_answers_without_what_is_needed_are_told(
    bad_server: Callable[[Reply], BadServer], call: str, value: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    there = Server(bad_server(asked(value)).url)
    try:
        found = CALLS[call](there, tmp_path / "a.png")
    except WorkflowError as error:
        assert len(str(error)) < 400
    else:
        assert (call, found) == ("upload", "None"), "a name that is no name is the workflow's to refuse"


@pytest.mark.parametrize(
    "body", [b"", b"[", b'"x"', b'{"error": 5}', b'{"node_errors": {"1": 7}}', b'{"node_errors": [1]}']
)
def test_refusals_that_say_nothing_are_told(bad_server: Callable[[Reply], BadServer], body: bytes) -> None:
    there = Server(bad_server(answer(body, status="400 Bad Request")).url)
    with pytest.raises(WorkflowError, match="server"):
        there.queue({"1": NODE})


def test_a_file_that_is_cut_off_is_no_file(bad_server: Callable[[Reply], BadServer], tmp_path: Path) -> None:
    there = Server(bad_server(answer(b"half", length=8)).url)
    with pytest.raises(WorkflowError, match="ends after 4 of 8 bytes"):
        there.download({"filename": "a.png"}, tmp_path / "a.png")
