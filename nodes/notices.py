"""Sentences that a node shows and logs: what of its inputs it leaves out or takes otherwise than one might expect."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

logger = logging.getLogger(__name__)


def log_notices(notices: Sequence[str]) -> None:
    """Logs every notice as a warning."""
    for notice in notices:
        logger.warning(notice)


def with_notices(result: tuple[Any, ...], notices: Sequence[str], ui: Mapping[str, Any] | None = None) -> Any:
    """What a node returns: `result`, and for ComfyUI's interface the notices as text beside the rest of its `ui`.

    A node with nothing to show returns `result` alone.
    """
    shown = {**(ui or {}), **({"text": list(notices)} if notices else {})}
    return {"ui": shown, "result": result} if shown else result
