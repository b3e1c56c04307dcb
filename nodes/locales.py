"""Writes the English texts of all nodes to locales/en/nodeDefs.json: `python -m framepack_transitions.nodes.locales`.

ComfyUI's interface reads the texts of a language from there. The nodes themselves are the only source of the English
ones; other languages are translated by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import NODES
from .types import Node

ENGLISH = Path(__file__).resolve().parents[1] / "locales" / "en" / "nodeDefs.json"


def english_file() -> str:
    """The content of the English file: every node's display name and description, and the texts of its sockets."""
    texts = {node.__name__: node_texts(node) for node in NODES}
    return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"


def node_texts(node: type[Node]) -> dict[str, Any]:
    """The texts of one node, in the form that ComfyUI's interface reads."""
    declared = node.INPUT_TYPES()
    inputs = {**declared.get("required", {}), **declared.get("optional", {})}
    names = getattr(node, "RETURN_NAMES", node.RETURN_TYPES)
    return {
        "display_name": node.DISPLAY_NAME,
        "description": node.DESCRIPTION,
        "inputs": {
            name: {"name": name, "tooltip": options["tooltip"]} for name, (_, options) in inputs.items()
        },
        "outputs": {
            str(index): {"name": name, "tooltip": tooltip}
            for index, (name, tooltip) in enumerate(zip(names, node.OUTPUT_TOOLTIPS))
        },
    }


if __name__ == "__main__":
    ENGLISH.write_text(english_file(), encoding="utf-8", newline="\n")
