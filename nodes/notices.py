"""Sentences that a node shows and logs: what of its inputs it leaves out or takes otherwise than one might expect."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from .host_messages import show_now

logger = logging.getLogger(__name__)


def announce(notices: Sequence[str]) -> None:
    """Logs every notice as a warning, and shows them at once."""
    for notice in notices:
        logger.warning(notice)
    show_notices(notices)


def show_notices(notices: Sequence[str]) -> None:
    """Lets the running node show these notices before it has finished, which may take long."""
    if notices:
        show_now({"text": list(notices)})


def with_notices(result: tuple[Any, ...], notices: Sequence[str], ui: Mapping[str, Any] | None = None) -> Any:
    """What a node returns: `result`, and for ComfyUI's interface the notices as text beside the rest of its `ui`.

    A node with nothing to show returns `result` alone.
    """
    shown = {**(ui or {}), **({"text": list(notices)} if notices else {})}
    return {"ui": shown, "result": result} if shown else result
