"""Layers whose weights may be stored in another dtype than the one computed in.

An `operations` namespace has Linear, Conv3d, LayerNorm and RMSNorm with torch.nn's constructors; ComfyUI's
comfy.ops.disable_weight_init and manual_cast are such namespaces too.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .products import linear, linear_gelu


class Linear(nn.Linear):
    """nn.Linear whose weights are cast to the input's dtype at use, so that fp8 storage computes in bf16."""

    def reset_parameters(self) -> None:
        if can_be_random(self.weight):
            super().reset_parameters()

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        """The product of x [..., inputs], or with `gelu` that activation of it, in its tanh approximation."""
        product = linear_gelu if gelu else linear
        return product(x, self.weight.to(x.dtype), in_dtype_of(x, self.bias))


class Conv3d(nn.Conv3d):
    """nn.Conv3d whose weights are cast to the input's dtype at use."""

    def reset_parameters(self) -> None:
        if can_be_random(self.weight):
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self._conv_forward(x, self.weight.to(x.dtype), in_dtype_of(x, self.bias))
        return convolved


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm whose weights are cast to the input's dtype at use."""

    def reset_parameters(self) -> None:
        if can_be_random(self.weight):
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = in_dtype_of(x, self.weight), in_dtype_of(x, self.bias)
        return F.layer_norm(x, list(self.normalized_shape), weight, bias, self.eps)


class RMSNorm(nn.RMSNorm):
    """nn.RMSNorm whose weights are cast to the input's dtype at use."""

    def reset_parameters(self) -> None:
        if can_be_random(self.weight):
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, list(self.normalized_shape), in_dtype_of(x, self.weight), self.eps)


def can_be_random(weight: Tensor | None) -> bool:
    """Whether weights can be set to random numbers: torch has none in one byte, and such layers exist to be loaded."""
    return weight is not None and weight.dtype.itemsize > 1


def in_dtype_of(x: Tensor, parameter: Tensor | None) -> Tensor | None:
    """A parameter in the dtype of x; None for none."""
    return None if parameter is None else parameter.to(x.dtype)


default = SimpleNamespace(Linear=Linear, Conv3d=Conv3d, LayerNorm=LayerNorm, RMSNorm=RMSNorm)


@dataclass(frozen=True)
class Layers:
    """Makes the layers of a model: one `operations` namespace, one dtype, one device."""

    operations: Any
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        layer: nn.Module = self.operations.Linear(inputs, outputs, dtype=self.dtype, device=self.device)
        return layer

    def patches(self, inputs: int, outputs: int, kernel: tuple[int, int, int]) -> nn.Module:
        """A convolution whose stride is its kernel (frames, rows, columns)."""
        layer: nn.Module = self.operations.Conv3d(
            inputs, outputs, kernel_size=kernel, stride=kernel, dtype=self.dtype, device=self.device
        )
        return layer

    def layer_norm(self, dim: int, *, affine: bool) -> nn.Module:
        layer: nn.Module = self.operations.LayerNorm(
            dim, elementwise_affine=affine, eps=1e-6, dtype=self.dtype, device=self.device
        )
        return layer

    def rms_norm(self, dim: int) -> nn.Module:
        layer: nn.Module = self.operations.RMSNorm(dim, eps=1e-6, dtype=self.dtype, device=self.device)
        return layer
