"""A transformer whose blocks multiply in fp8, as ComfyUI does for weight_dtype fp8_e4m3fn_fast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...models.dit import FramePackDiT
from ...models.layers.blocks import Modulation
from .sizes import same_weights

FP8 = torch.float8_e4m3fn
# The oldest GPUs that multiply in fp8: Ada.
CAPABILITY = (8, 9)


class Fp8Linear(nn.Module):
    """A linear layer whose weight and inputs are rounded to fp8 without a scale, and its products summed in float32."""

    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.bias = layer.bias
        self.register_buffer("weight", layer.weight.to(FP8))
        self.register_buffer("scale", torch.ones((), device=layer.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        most = torch.finfo(FP8).max
        rows = x.flatten(0, -2).clamp(-most, most).to(FP8)
        product: Tensor = torch._scaled_mm(
            rows, self.weight.t(), scale_a=self.scale, scale_b=self.scale, bias=self.bias, out_dtype=x.dtype
        )
        return product.view(*x.shape[:-1], -1)


def can_multiply(device: torch.device) -> bool:
    """Whether a device has products in fp8 that are worth timing."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABILITY


def fp8_copy(dit: FramePackDiT) -> FramePackDiT:
    """A transformer of the same weights, those of its blocks' layers in fp8 but for the vectors that modulate."""
    copy = same_weights(dit)
    for stack in (copy.transformer_blocks, copy.single_transformer_blocks):
        for parent in list(stack.modules()):
            if not isinstance(parent, Modulation):
                _replace_layers(parent)
    return copy


def _replace_layers(parent: nn.Module) -> None:
    for name, layer in list(parent.named_children()):
        if isinstance(layer, nn.Linear):
            setattr(parent, name, Fp8Linear(layer))
