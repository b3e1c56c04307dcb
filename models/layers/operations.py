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


class StoredWeights:
    """Mixin: weights are cast to the input's dtype at use, so that fp8 storage computes in bf16."""

    def reset_parameters(self) -> None:
        # torch has no random numbers in one byte; such layers exist to be loaded.
        if self.weight is not None and self.weight.dtype.itemsize > 1:
            super().reset_parameters()

    def cast_to(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weight, bias = self.weight, getattr(self, "bias", None)
        return (
            None if weight is None else weight.to(x.dtype),
            None if bias is None else bias.to(x.dtype),
        )


class Linear(StoredWeights, nn.Linear):
    """nn.Linear that computes in the dtype and on the device of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.cast_to(x))


class Conv3d(StoredWeights, nn.Conv3d):
    """nn.Conv3d that computes in the dtype and on the device of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, *self.cast_to(x))


class LayerNorm(StoredWeights, nn.LayerNorm):
    """nn.LayerNorm that computes in the dtype and on the device of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, *self.cast_to(x), self.eps)


class RMSNorm(StoredWeights, nn.RMSNorm):
    """nn.RMSNorm that computes in the dtype and on the device of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.cast_to(x)[0], self.eps)


default = SimpleNamespace(Linear=Linear, Conv3d=Conv3d, LayerNorm=LayerNorm, RMSNorm=RMSNorm)


@dataclass(frozen=True)
class Layers:
    """Makes the layers of a model: one `operations` namespace, one dtype, one device."""

    operations: Any
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return self.operations.Linear(inputs, outputs, dtype=self.dtype, device=self.device)

    def patches(self, inputs: int, outputs: int, kernel: tuple[int, int, int]) -> nn.Module:
        """A convolution whose stride is its kernel (frames, rows, columns)."""
        return self.operations.Conv3d(
            inputs, outputs, kernel_size=kernel, stride=kernel, dtype=self.dtype, device=self.device
        )

    def layer_norm(self, dim: int, *, affine: bool) -> nn.Module:
        return self.operations.LayerNorm(
            dim, elementwise_affine=affine, eps=1e-6, dtype=self.dtype, device=self.device
        )

    def rms_norm(self, dim: int) -> nn.Module:
        return self.operations.RMSNorm(dim, eps=1e-6, dtype=self.dtype, device=self.device)
