"""Holds a run until the page has shown what the server sent, so that tests do not depend on the speed of either.

ComfyUI loads this file as a pack without nodes. While the gate is closed, whoever sends a video or the picture of a step waits
until the page says that it shows it. `/page_gate` takes {"closed": true or false}, and from the page {"shown": [...]}: names of
video files, and `STEP` for the picture of a step.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from aiohttp import web
from server import BinaryEventTypes, PromptServer

logger = logging.getLogger(__name__)

NODE_CLASS_MAPPINGS: dict[str, type] = {}
STEP = "step"
PICTURES = (BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA)
# A page that is slow may give up loading a video, hence the attempts. After the last one the gate opens, and the test says
# what was not shown.
ATTEMPTS, SECONDS = 5, 60


class Gate:
    """What the page shows, for the thread that waits for it."""

    def __init__(self) -> None:
        self._closed, self._shown = False, frozenset[str]()
        self._changed = threading.Condition()

    def update(self, *, closed: bool | None = None, shown: list[str] | None = None) -> None:
        """Open or close the gate, or take in what the page shows now."""
        with self._changed:
            self._closed = self._closed if closed is None else closed
            self._shown = frozenset(shown or ())
            self._changed.notify_all()

    def lets_pass(self, sent: set[str]) -> bool:
        """Whether the gate is open or the page shows what was sent, within `SECONDS`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._closed or sent <= self._shown, SECONDS)


def things_to_show(event: Any, data: Any) -> set[str]:
    """What the page has to show after a message of the server."""
    if event in PICTURES:
        return {STEP}
    files = (data.get("output") or {}).get("images", []) if event == "executed" else []
    return {file["filename"] for file in files if file["filename"].endswith(".mp4")}


def hold_runs(server: PromptServer, gate: Gate) -> None:
    """Let everything that is to be shown wait at the gate once it is sent."""
    send = server.send_sync

    def send_and_wait(event: Any, data: Any, sid: str | None = None) -> None:
        sent = things_to_show(event, data)
        for _ in range(ATTEMPTS):
            send(event, data, sid)
            if not sent or gate.lets_pass(sent):
                return
        logger.warning("The page has not shown %s in %d s.", sorted(sent), ATTEMPTS * SECONDS)
        gate.update(closed=False)

    server.send_sync = send_and_wait


gate = Gate()
hold_runs(PromptServer.instance, gate)


@PromptServer.instance.routes.post("/page_gate")
async def update_gate(request: web.Request) -> web.Response:
    gate.update(**await request.json())
    return web.json_response(None)
