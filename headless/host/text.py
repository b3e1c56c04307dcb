"""The core node that shows any value as text."""

from __future__ import annotations

import json
from typing import Any


class PreviewAny:
    """Any value as text."""

    CATEGORY = "utils"
    RETURN_TYPES = ()
    FUNCTION = "main"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"source": ("*", {})}}

    def main(self, source: Any = None) -> dict[str, Any]:
        return {"ui": {"text": (_as_text(source),)}}


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, str | int | float):
        return str(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
