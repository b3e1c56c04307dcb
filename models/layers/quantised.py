"""Linear layers whose weights stay quantised and are unpacked at use, one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .packings import unpack

PART_PREFIX = "packed_"


def quantised_operations(operations: Any) -> SimpleNamespace:
    """The same layers, with a Linear that can store its weight quantised (see `store`).

    With ComfyUI's operations LoRA patches apply to the unpacked weight: they are its weight_function.
    """

    class Linear(operations.Linear):  # type: ignore[misc]  # the base class is whichever the host brings
        """A linear layer; as its operations' own until `store` is called."""

        packing: str | None = None

        def store(self, packing: str, parts: Mapping[str, Tensor]) -> None:
            """Keep a weight as a file stores it: "weight" and its scales, which `packing` explains."""
            self.packing = packing
            self.weight = nn.Parameter(parts["weight"], requires_grad=False)
            for name, value in parts.items():
                if name != "weight":
                    self.register_buffer(PART_PREFIX + name, value)

        def unpacked(self, x: Tensor) -> Tensor:
            """The weight in the dtype and on the device of x, with what patches add to it."""
            parts = {
                name.removeprefix(PART_PREFIX): value for name, value in self.named_buffers(recurse=False)
            }
            parts = {name: value.to(x.device) for name, value in {**parts, "weight": self.weight}.items()}
            weight = unpack(str(self.packing), parts)
            return applied(getattr(self, "weight_function", ()), weight.to(x.dtype))

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if self.packing is None:
                passed: Tensor = super().forward(x, *args, **kwargs)
                return passed
            bias = self.bias
            if bias is not None:
                bias = applied(getattr(self, "bias_function", ()), bias.to(x.device, x.dtype))
            return F.linear(x, self.unpacked(x), bias)

    return SimpleNamespace(
        Linear=Linear, Conv3d=operations.Conv3d, LayerNorm=operations.LayerNorm, RMSNorm=operations.RMSNorm
    )


def applied(functions: Iterable[Callable[[Tensor], Tensor]], value: Tensor) -> Tensor:
    """A value after each function in turn."""
    for function in functions:
        value = function(value)
    return value
