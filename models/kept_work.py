"""Work that stays the same over the steps of a section, done once and kept by what it was made from.

A section's text, image tokens and packed past change in few of its steps or in none. What is made from them alone is kept
beside the run, never on a module, and is used again only while its inputs are the same: so nothing need know what a technique
or another node changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Result = TypeVar("Result")

# As many results of one function are kept as a step has branches, and a few that come and go with techniques.
MOST = 8


class KeptWork:
    """Results of functions by their inputs, for each function the latest MOST.

    One belongs to one section of a run, in which weights do not change.
    """

    def __init__(self) -> None:
        self._entries: dict[Callable[..., Any], list[tuple[tuple[Any, ...], Any]]] = {}

    def get(self, function: Callable[..., Result], inputs: tuple[Any, ...]) -> Result:
        """`function(*inputs)`, or what it gave for equal inputs.

        Tensors on a CPU are equal that hold the same numbers; elsewhere, where a comparison would wait for the device, it
        must be the very same tensor.
        """
        entries = self._entries.setdefault(function, [])
        for known, result in entries:
            if all(map(_same, known, inputs)):
                return cast(Result, result)
        result = function(*inputs)
        entries.append((tuple(map(_remembered, inputs)), result))
        del entries[: max(len(entries) - MOST, 0)]
        return result


def once(work: KeptWork | None, function: Callable[..., Result], *inputs: Any) -> Result:
    """`function(*inputs)`, a function of these alone, computed once where work is kept.

    Nothing is kept while a compiler traces, nor where gradients will be asked for.
    """
    if work is None or torch.compiler.is_compiling() or torch.is_grad_enabled():
        return function(*inputs)
    return work.get(function, inputs)


def kept_work(transformer_options: Mapping[str, Any]) -> KeptWork | None:
    """The work kept for a forward's section. A compiler sees none, so that it compiles once for all sections."""
    return None if torch.compiler.is_compiling() else transformer_options.get("framepack_kept_work")


def _remembered(value: Any) -> Any:
    """An input as later ones are compared with it: a copy where contents count, as a tensor may change in place."""
    return value.clone() if _compares_contents(value) else value


def _same(known: Any, value: Any) -> bool:
    if _compares_contents(known) and _compares_contents(value):
        return known.dtype == value.dtype and torch.equal(known, value)
    return known is value or (not isinstance(value, Tensor | torch.nn.Module) and bool(known == value))


def _compares_contents(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu"
