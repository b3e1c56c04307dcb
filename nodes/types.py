"""Names and types that several node modules share."""

from __future__ import annotations

from typing import Any, Protocol

ROOT = "FramePack"
TIMELINE = "FRAMEPACK_TIMELINE"
TRACE = "FRAMEPACK_TRACE"


class Node(Protocol):
    """What ComfyUI and this pack read from a node's class, beside the method that FUNCTION names."""

    DISPLAY_NAME: str
    SEARCH_ALIASES: Any  # a tuple of words that users may search for
    DESCRIPTION: str
    CATEGORY: str
    FUNCTION: str
    RETURN_TYPES: Any  # a tuple of type names
    OUTPUT_TOOLTIPS: Any  # a tuple of texts, one an output

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs by kind (required, optional, hidden) and name, each with its type and options."""
