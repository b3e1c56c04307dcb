"""FramePack Transitions: FramePack long-video sampling for ComfyUI, built for prompt changes that really happen.

ComfyUI reads the three names of `__all__`. The node mappings are loaded when they are asked for, so that importing one
part of the pack, such as `framepack_transitions.metrics`, does not load all others.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

WEB_DIRECTORY = "./web"
_MAPPINGS = ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS")
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]


def __getattr__(name: str) -> Any:
    if name not in _MAPPINGS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not __package__:
        # Tools that import this file by its path, outside of a package, get the names without the nodes.
        return {}
    return getattr(_nodes(), name)


@cache
def _nodes() -> ModuleType:
    """The nodes, loaded once: ComfyUI asks for the mappings several times."""
    try:
        from . import nodes
        from .nodes.comfyui import inside_comfyui
        from .nodes.example_files import offer_example_files
    except AttributeError as error:
        # ComfyUI asks with hasattr(), which would take this for a pack without nodes and hide the reason.
        raise ImportError(f"the nodes of FramePack Transitions cannot be loaded: {error}") from error
    if inside_comfyui():
        offer_example_files()
    return nodes


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
