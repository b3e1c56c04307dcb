"""Holds a running node until the page has shown what the node sent, so that tests do not depend on the speed of either.

ComfyUI loads this file as a pack without nodes. The gate is open until something is posted to `/page_gate`: a list of what
the page shows, names of video files and `STEP` for the picture of a step. From then on a node that sends a video or such a
picture goes on when a list has it. To post null opens the gate again.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from aiohttp import web
from comfy_execution.utils import get_executing_context
from server import BinaryEventTypes, PromptServer

logger = logging.getLogger(__name__)

NODE_CLASS_MAPPINGS: dict[str, type] = {}
STEP = "step"
PICTURES = (BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA)
LONGEST = 300  # seconds that a page may take; then the gate opens, and the test says what was not shown


class Gate:
    """What the page shows, for the thread of the node that waits for it; None opens the gate."""

    def __init__(self) -> None:
        self._shown: set[str] | None = None
        self._changed = threading.Condition()

    def update(self, shown: list[str] | None) -> None:
        with self._changed:
            self._shown = None if shown is None else set(shown)
            self._changed.notify_all()

    def wait_for(self, sent: set[str]) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._shown is None or sent <= self._shown, LONGEST):
                logger.warning("The page has not shown %s in %d s.", sorted(sent), LONGEST)
                self._shown = None


def things_to_show(event: Any, data: Any) -> set[str]:
    """What the page has to show after a message of the server."""
    if event in PICTURES:
        return {STEP}
    files = (data.get("output") or {}).get("images", []) if event == "executed" else []
    return {file["filename"] for file in files if file["filename"].endswith(".mp4")}


def hold_nodes(server: PromptServer, gate: Gate) -> None:
    """Let every node that sends something wait at the gate; what the server itself sends passes."""
    send = server.send_sync

    def send_and_wait(event: Any, data: Any, sid: str | None = None) -> None:
        send(event, data, sid)
        if get_executing_context() is not None:
            gate.wait_for(things_to_show(event, data))

    server.send_sync = send_and_wait


gate = Gate()
hold_nodes(PromptServer.instance, gate)


@PromptServer.instance.routes.post("/page_gate")
async def update_gate(request: web.Request) -> web.Response:
    gate.update(await request.json())
    return web.json_response(None)
