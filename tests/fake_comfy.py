"""A small imitation of a ComfyUI server, for tests of the client."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

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
        self.running: list[Any] | None = None  # entries of the queue in place of its own
        self.on_queue = lambda: None  # called with every workflow that is queued

    def history(self) -> dict[str, Any]:
        if not self.done.is_set() or len(self.queued) <= self.forgets:
            return {}
        outputs = {"3": {"images": [self.file], "animated": [True]}, "2": {"text": [self.text]}}
        return {PROMPT: {"outputs": outputs, "status": self.status}}

    def queue(self) -> dict[str, Any]:
        if self.running is not None:
            return {"queue_running": self.running, "queue_pending": []}
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
            self.comfy.on_queue()
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


@contextmanager
def serving(video: bytes) -> Iterator[FakeComfy]:
    """An imitation that gives out this video, and listens at its `url` inside the block."""
    fake = FakeComfy(video)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"comfy": fake}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    fake.start.set()
    server.shutdown()
    server.server_close()
