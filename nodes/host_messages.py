"""What a running node tells ComfyUI's interface before it has finished; outside ComfyUI nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .comfyui import inside_comfyui


@dataclass(frozen=True)
class _Running:
    """The node that runs, and the server that shows it.

    node: its id in the workflow that was queued.
    display_node: the id of the node that the user sees for it.
    """

    server: Any
    prompt_id: str
    node: str
    display_node: str


def show_now(ui: Mapping[str, Any]) -> None:
    """Let the running node show these files, as if they were the `ui` of its result."""
    running = _running()
    if running is None or running.server.client_id is None:
        return
    message = {
        "node": running.node,
        "display_node": running.display_node,
        "output": ui,
        "prompt_id": running.prompt_id,
    }
    running.server.send_sync("executed", message, running.server.client_id)


def show_text(text: str) -> None:
    """Let the running node show a line of text."""
    running = _running()
    if running is not None and hasattr(running.server, "send_progress_text"):
        running.server.send_progress_text(text, running.display_node, running.server.client_id)


def time_left(done: float, total: float, seconds: float) -> str:
    """How long the rest will take where `done` of `total` took `seconds`: "1:05 left"; "" where there is no rest."""
    if not 0 < done < total:
        return ""
    left = round(seconds * (total - done) / done)
    return f"{left // 60}:{left % 60:02} left"


def _running() -> _Running | None:
    """The node that runs in this thread; None outside a server's run."""
    # ComfyUI's own packages can be in use without its server, whose module is loaded only where it is started.
    module = sys.modules.get("server")
    server = getattr(getattr(module, "PromptServer", None), "instance", None)
    if server is None or not inside_comfyui():
        return None
    from comfy_execution.progress import get_progress_state
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    if context is None:
        return None
    display_node = get_progress_state().dynprompt.get_display_node_id(context.node_id)
    return _Running(server, context.prompt_id, context.node_id, display_node)
