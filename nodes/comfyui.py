"""Whether the nodes run inside ComfyUI or in the pack's own command line."""

from __future__ import annotations

import sys


def inside_comfyui() -> bool:
    """Whether this process is a ComfyUI server: it has loaded its model patcher before it loads any node."""
    return "comfy.model_patcher" in sys.modules
