"""A workflow is queued to a ComfyUI, watched, and its files fetched; the server here is a small imitation."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import torch

pytest.importorskip("websockets", reason="server runs need the package websockets")

from framepack_transitions.headless.cli import main
from framepack_transitions.headless.files import media
from framepack_transitions.headless.running import client, patience
from framepack_transitions.headless.running.progress import ProgressBars
from framepack_transitions.headless.running.server import Server
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.workflow import parse_api

OBJECT_INFO = {
    "LoadImage": {
        "input": {"required": {"image": [["there.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "Work": {
        "input": {"required": {"image": ["IMAGE"], "steps": ["INT", {"default": 4}]}},
        "output": ["VIDEO"],
    },
    "SaveVideo": {
        "input": {"required": {"video": ["VIDEO"], "filename_prefix": ["STRING", {}]}},
        "output": [],
        "output_node": True,
    },
}
WORKFLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "start.png"}},
    "2": {"class_type": "Work", "inputs": {"image": ["1", 0], "steps": 4}, "_meta": {"title": "Worker"}},
    "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], "filename_prefix": "clip"}},
}
PROMPT = "0f4a"


class FakeComfy:
    """What the imitation knows and has seen; tests change the answers."""

    def __init__(self, video: bytes) -> None:
        self.video = video
        self.uploads: list[bytes] = []
        self.queued: list[dict[str, Any]] = []
        self.posts: list[tuple[str, Any]] = []
        self.viewed: list[dict[str, str]] = []
        self.refusal: dict[str, Any] | None = None
        self.forgets = 0  # how many of the queued workflows it knows nothing of when it is asked
        self.stays = False  # whether the connection for events stays open after the last one
        self.away = 0  # how many questions after the queueing stay without an answer
        self.text = "done well"
        self.status: dict[str, Any] = {"status_str": "success", "completed": True, "messages": []}
        self.file = {"filename": "clip_00009_.mp4", "subfolder": "", "type": "output"}
        self.events: list[Any] = [
            {"type": "status", "data": {}},
            {
                "type": "progress_state",
                "data": {
                    "prompt_id": PROMPT,
                    "nodes": {
                        "1": {"value": 1, "max": 1, "state": "finished"},
                        "2": {"value": 2, "max": 4, "state": "running"},
                    },
                },
            },
            b"\x00\x00\x00\x01 a preview",
            {"type": "progress", "data": {"prompt_id": PROMPT, "node": "2", "value": 4, "max": 4}},
            {"type": "executing", "data": {"prompt_id": PROMPT, "node": None}},
        ]
        self.done = threading.Event()
        self.start = threading.Event()

    def history(self) -> dict[str, Any]:
        if not self.done.is_set() or len(self.queued) <= self.forgets:
            return {}
        outputs = {"3": {"images": [self.file], "animated": [True]}, "2": {"text": [self.text]}}
        return {PROMPT: {"outputs": outputs, "status": self.status}}

    def queue(self) -> dict[str, Any]:
        running = len(self.queued) > self.forgets and not self.done.is_set()
        return {"queue_running": [[0, PROMPT, {}, {}, []]] if running else [], "queue_pending": []}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    comfy: FakeComfy

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.comfy.queued and self.comfy.away and url.path != "/ws":
            self.comfy.away -= 1
            self.close_connection = True
        elif url.path == "/ws":
            self._websocket()
        elif url.path.startswith("/object_info/"):
            name = url.path.rpartition("/")[2]
            self._answer({name: OBJECT_INFO[name]} if name in OBJECT_INFO else {})
        elif url.path == "/queue":
            self._answer(self.comfy.queue())
        elif url.path.startswith("/history/"):
            self._answer(self.comfy.history())
        elif url.path == "/view":
            self.comfy.viewed.append(
                {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
            )
            self._answer(self.comfy.video)
        else:
            self._answer({}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/upload/image":
            self.comfy.uploads.append(body)
            self._answer({"name": "start (1).png", "subfolder": "", "type": "input"})
        elif self.path == "/prompt" and self.comfy.refusal:
            self.comfy.start.set()
            self._answer(self.comfy.refusal, 400)
        elif self.path == "/prompt":
            self.comfy.queued.append(json.loads(body))
            self.comfy.start.set()
            self._answer({"prompt_id": PROMPT, "number": 1, "node_errors": {}})
        else:
            self.comfy.posts.append((self.path, json.loads(body)))
            self._answer({})

    def _answer(self, content: Any, code: int = 200) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _websocket(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header(
            "Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        )
        self.end_headers()
        self.comfy.start.wait(10)
        for position, event in enumerate(self.comfy.events):
            if position == len(self.comfy.events) - 1:
                self.comfy.done.set()
            self._frame(event)
        self.comfy.done.set()
        while self.comfy.stays and (ping := self._ping()) is not None:
            self.wfile.write(bytes([0x8A, len(ping)]) + ping)
        self.close_connection = True

    def _ping(self) -> bytes | None:
        """What the client's next ping holds; None where it says anything else."""
        head = self.rfile.read(2)
        if not head or head[0] != 0x89:
            return None
        mask, data = self.rfile.read(4), self.rfile.read(head[1] & 0x7F)
        return bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))

    def _frame(self, event: Any) -> None:
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        code = 0x82 if isinstance(event, bytes) else 0x81
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
        self.wfile.write(bytes([code]) + size + data)
        self.wfile.flush()


@pytest.fixture
def comfy(tmp_path: Path) -> Iterator[FakeComfy]:
    media.write_video(tmp_path / "made.mp4", torch.rand(5, 16, 32, 3), 30)
    fake = FakeComfy((tmp_path / "made.mp4").read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"comfy": fake}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    fake.start.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "start.png").write_bytes(b"the picture")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(WORKFLOW), encoding="utf-8")
    return path


def run(comfy: FakeComfy, workflow: Path, *more: str) -> int:
    return main(["run", str(workflow), "--server", comfy.url, "--out", str(workflow.parent / "out"), *more])


def test_inputs_go_up_and_outputs_come_down(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(comfy, workflow, "--set", "Worker.steps=9") == 0
    assert b"the picture" in comfy.uploads[0] and b'filename="start.png"' in comfy.uploads[0]
    prompt = comfy.queued[0]["prompt"]
    assert prompt["1"]["inputs"]["image"] == "start (1).png"
    assert prompt["2"]["inputs"] == {"image": ["1", 0], "steps": 9}
    assert comfy.viewed == [comfy.file]
    out = workflow.parent / "out"
    assert (out / "clip_00001_.mp4").read_bytes() == comfy.video
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["kind"] == "run" and report["server"] == comfy.url
    assert report["videos"] == [
        {"path": "clip_00001_.mp4", "frames": 5, "fps": 30.0, "size": [32, 16], "node": "3"}
    ]
    captured = capsys.readouterr()
    assert "done well" in captured.out and "clip_00001_.mp4" in captured.out
    assert "Worker" in captured.err and "4/4" in captured.err


def test_a_lost_progress_connection_costs_only_the_bars(
    comfy: FakeComfy, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "POLL_SECONDS", 0.05)
    comfy.events = comfy.events[:1]
    assert run(comfy, workflow) == 0


def test_a_file_that_only_the_server_has_is_left_to_it(comfy: FakeComfy, workflow: Path) -> None:
    assert run(comfy, workflow, "--set", "1.image=there.png") == 0
    assert comfy.uploads == []
    assert comfy.queued[0]["prompt"]["1"]["inputs"]["image"] == "there.png"


@pytest.mark.parametrize("name", ["nowhere.png", "../mine.json"])
def test_files_are_only_uploaded_from_the_input_folder(
    comfy: FakeComfy, workflow: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(comfy, workflow, "--set", f"1.image={name}") == 1
    assert not comfy.uploads and not comfy.queued
    assert f"'{name}'" in capsys.readouterr().err


def test_refused_nodes_are_named(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.refusal = {
        "error": {"message": "Prompt outputs failed validation", "details": ""},
        "node_errors": {
            "2": {
                "class_type": "Work",
                "errors": [{"message": "Value 9 bigger than max of 8", "details": "steps"}],
            }
        },
    }
    assert run(comfy, workflow) == 1
    assert (
        'The server refuses node 2 Work "Worker": Value 9 bigger than max of 8: steps.'
        in capsys.readouterr().err
    )


def test_a_refusal_as_a_whole_is_said(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.refusal = {"error": {"message": "Prompt has no outputs", "details": ""}, "node_errors": []}
    assert run(comfy, workflow) == 1
    assert "The server refuses the workflow: Prompt has no outputs." in capsys.readouterr().err


def test_a_failed_node_is_named(comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comfy.status = {
        "status_str": "error",
        "completed": False,
        "messages": [
            ["execution_start", {}],
            ["execution_error", {"node_id": "2", "node_type": "Work", "exception_message": "out of\nmemory"}],
        ],
    }
    assert run(comfy, workflow) == 1
    assert 'On the server, node 2 Work "Worker" failed: out of memory.' in capsys.readouterr().err
    assert not (workflow.parent / "out").exists()


def test_unknown_nodes_are_named(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow.write_text(
        json.dumps({**WORKFLOW, "7": {"class_type": "Mystery", "inputs": {}}}), encoding="utf-8"
    )
    assert run(comfy, workflow) == 1
    assert "Node 7 Mystery: this class is not known here" in capsys.readouterr().err


def test_a_workflow_that_was_taken_out_of_the_queue_is_not_queued_again(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.forgets, comfy.stays = 1, True
    assert run(comfy, workflow) == 1
    assert "no longer knows the queued workflow" in capsys.readouterr().err and len(comfy.queued) == 1


def test_a_server_that_was_restarted_gets_the_workflow_again(
    comfy: FakeComfy, workflow: Path, caplog: pytest.LogCaptureFixture
) -> None:
    comfy.forgets = 2
    assert run(comfy, workflow) == 0
    assert len(comfy.queued) == 3 and caplog.text.count("The workflow is queued again.") == 2
    assert (workflow.parent / "out" / "clip_00001_.mp4").read_bytes() == comfy.video


def test_a_workflow_that_ends_the_server_again_and_again_is_given_up(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.forgets = 10
    assert run(comfy, workflow) == 1
    assert len(comfy.queued) == 4 and "was restarted while the workflow ran." in capsys.readouterr().err


def test_names_from_the_server_cannot_leave_the_output_folder(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.file = {"filename": "x.mp4", "subfolder": "../..", "type": "output"}
    assert run(comfy, workflow) == 1
    assert "cannot be used" in capsys.readouterr().err


MALFORMED = [
    [],
    "text",
    None,
    {"data": 5},
    {"type": "progress_state", "data": {"prompt_id": PROMPT, "nodes": [1]}},
    {"type": "progress_state", "data": {"prompt_id": PROMPT, "nodes": {"2": {"value": None, "max": "x"}}}},
    {"type": "progress", "data": {"prompt_id": PROMPT, "node": "2", "value": 1, "max": float("inf")}},
    {"type": "progress", "data": {"prompt_id": PROMPT, "node": "99\x1b[2J", "value": 1, "max": 9}},
]


def test_malformed_events_do_not_end_a_healthy_run(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.events = [*MALFORMED, *comfy.events]
    assert run(comfy, workflow) == 0
    assert (workflow.parent / "out" / "clip_00001_.mp4").read_bytes() == comfy.video
    assert "\x1b[2J" not in capsys.readouterr().err


def test_a_server_that_is_gone_for_a_while_is_waited_for(
    comfy: FakeComfy, workflow: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "POLL_SECONDS", 0.01)
    comfy.away = 3
    assert run(comfy, workflow) == 0
    assert comfy.away == 0 and len(comfy.queued) == 1
    assert caplog.text.count("Waiting for it") == 1
    assert (workflow.parent / "out" / "clip_00001_.mp4").read_bytes() == comfy.video


def test_a_server_that_stays_away_ends_the_run_with_a_sentence(
    comfy: FakeComfy, workflow: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0)
    comfy.away = 10**6
    assert run(comfy, workflow) == 1
    assert "No ComfyUI answers" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["clip_00009_.mp4", "clip_00009_.png"])
@pytest.mark.parametrize("data", [b"", b"<html>", b"\x89PNG\r\n\x1a\n\0\0", b"\0\0\0\x18ftypmp42"])
def test_a_file_that_is_none_does_not_get_its_name(
    comfy: FakeComfy, workflow: Path, name: str, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.video, comfy.file = data, {**comfy.file, "filename": name}
    assert run(comfy, workflow) == 1
    assert f"The server's file {name} cannot be used" in capsys.readouterr().err
    assert list((workflow.parent / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("a\x1b[31mb_00001_.mp4", "a[31mb_00001_.mp4"),
        ('a<b>:"c".mp4', "a_b___c__00001_.mp4"),
        ("x" * 4000 + ".mp4", "x" * 100 + "_00001_.mp4"),
        ("a\u202eb.mp4", "ab_00001_.mp4"),
    ],
)
def test_names_of_the_server_are_made_plain(
    comfy: FakeComfy, workflow: Path, name: str, there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.file, comfy.text = {**comfy.file, "filename": name}, "red \x1b[31m text"
    assert run(comfy, workflow) == 0
    names = [path.name for path in (workflow.parent / "out").iterdir()]
    assert sorted(names) == sorted([there, "report.json"])
    assert "\x1b" not in capsys.readouterr().out


def test_an_interrupt_reaches_the_server(
    comfy: FakeComfy, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "_handle", stop)
    assert run(comfy, workflow) == 130
    assert comfy.posts == [("/queue", {"delete": [PROMPT]}), ("/interrupt", {"prompt_id": PROMPT})]


def test_a_server_that_is_not_there_is_named(workflow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(workflow), "--server", "127.0.0.1:9"]) == 1
    assert "No ComfyUI answers at http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["file:///etc", "ftp://x", "http://"])
def test_only_web_addresses_are_servers(url: str) -> None:
    with pytest.raises(WorkflowError, match="takes an address"):
        Server(url)


def test_the_address_of_the_events_follows_that_of_the_server() -> None:
    assert Server("https://host/comfy/").events_url.startswith("wss://host/comfy/ws?clientId=")
    assert Server("localhost:8188").events_url.startswith("ws://localhost:8188/ws?clientId=")


def test_the_bar_of_a_finished_node_stays_closed(capsys: pytest.CaptureFixture[str]) -> None:
    bars = ProgressBars()
    event = {
        "type": "progress_state",
        "data": {
            "prompt_id": PROMPT,
            "nodes": {
                "2": {"value": 4, "max": 4, "state": "finished"},
                "5": {"value": 0, "max": 9, "state": "pending"},
            },
        },
    }
    assert not client._handle(event, PROMPT, parse_api(WORKFLOW), bars)
    assert "Worker: 100%" in capsys.readouterr().err
    client._handle(event, PROMPT, parse_api(WORKFLOW), bars)
    client._handle(event, "another run", parse_api(WORKFLOW), bars)
    assert capsys.readouterr().err == ""
