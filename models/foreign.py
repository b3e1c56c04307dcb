"""Code of other nodes that runs inside a prediction: which node it comes from, and what is said where it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import dropwhile
from traceback import walk_tb
from types import TracebackType
from typing import Any

# What code meant for another model raises on FramePack's tensors and attributes. Torch raises RuntimeError for shapes.
_MISFITS = (AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
_OF_THE_GPU = {"OutOfMemoryError", "AcceleratorError"}
_PACK = __name__.rpartition(".models.")[0]


def node_of(code: Any) -> str:
    """The node that a patch or wrapper comes from, as its name tells: the class or function in which it was made."""
    while isinstance(code, partial):
        code = code.func
    qualified = getattr(code, "__qualname__", None) or type(code).__qualname__
    return str(qualified).partition(".")[0]


class TransformerSettings(dict[str, Any]):
    """The host's settings of a model, which nodes for UNets read too."""

    def __missing__(self, name: str) -> Any:
        raise ValueError(
            f"this node reads {name} of a UNet, but a FramePack model is a transformer and has none; remove the node."
        )


@contextmanager
def naming_misfits(codes: Iterable[Any]) -> Iterator[None]:
    """Runs the code of other nodes, so that an error in it says whose it is: it becomes a RuntimeError with a remedy.

    Errors of the model that this code calls, and of the GPU, pass through as they are.
    """
    try:
        yield
    except _MISFITS as error:
        if type(error).__name__ in _OF_THE_GPU or _came_from_the_model(error.__traceback__):
            raise
        nodes = " or ".join(dict.fromkeys(map(node_of, codes)))
        raise RuntimeError(
            f"{nodes} cannot work on a FramePack model ({type(error).__name__}: {error}); remove the node."
        ) from error


def _came_from_the_model(trace: TracebackType | None) -> bool:
    """Whether this pack's code had been called again when an error was raised, behind the frames that caught it."""
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(trace)]
    return any(map(_is_own, dropwhile(_is_own, names)))


def _is_own(module: str) -> bool:
    return module.startswith(f"{_PACK}.")
