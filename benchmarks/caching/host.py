"""The embedded model inside a ComfyUI, for the step caches that ComfyUI brings."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ...nodes.loading.tiny_loader import FramePackTinyLoader


def host_model(comfyui: Path) -> Any:
    """The embedded model as a MODEL of the ComfyUI in a folder, on the CPU, in this process, whose Python must be ComfyUI's.

    Raises FileNotFoundError for a folder that holds no ComfyUI, and ImportError where its requirements are not installed.
    """
    if not (comfyui / "comfy").is_dir():
        raise FileNotFoundError(f"{comfyui} holds no ComfyUI; name the folder with its main.py.")
    sys.path.insert(0, str(comfyui.resolve()))
    import_module("comfy.cli_args").args.cpu = True
    for name in ("comfy.samplers", "comfy.sd"):
        import_module(name)
    loader = FramePackTinyLoader()
    return getattr(loader, loader.FUNCTION)()[0]
