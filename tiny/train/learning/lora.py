"""A LoRA of the transformer: its factors, how they act while they are trained, and musubi-tuner's names for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "lora_unet_"
BLOCKS = ("transformer_blocks.", "single_transformer_blocks.")


class LoraFactors(nn.Module):
    """Two factors of every linear layer of the transformer's blocks but for those that modulate.

    A layer's weight W acts as W + up down, with down [rank, in] and up [out, rank]. `up` begins with zeros, so that nothing
    changes at first; alpha is the rank. Source: Hu et al. 2021, arXiv 2106.09685; which layers: kohya-ss/musubi-tuner,
    `networks/lora_framepack.py`.
    """

    def __init__(self, transformer: nn.Module, rank: int, seed: int) -> None:
        super().__init__()
        self.rank = rank
        self.names = [name for name, _ in linear_layers(transformer)]
        generator = torch.Generator().manual_seed(seed)
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for _, layer in linear_layers(transformer):
            bound = layer.in_features**-0.5
            drawn = torch.rand(rank, layer.in_features, generator=generator) * 2 - 1
            weight = layer.weight
            self.down.append(nn.Parameter((bound * drawn).to(weight.device)))
            self.up.append(nn.Parameter(torch.zeros(layer.out_features, rank, device=weight.device)))

    @contextmanager
    def acting_on(self, transformer: nn.Module) -> Iterator[None]:
        """Let the transformer's layers be changed by the factors inside the block."""
        layers = dict(linear_layers(transformer))
        hooks = [
            layers[name].register_forward_hook(_adding(down, up))
            for name, down, up in zip(self.names, self.down, self.up)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def tensors(self) -> dict[str, Tensor]:
        """The factors in half precision under musubi-tuner's names."""
        found: dict[str, Tensor] = {}
        for name, down, up in zip(self.names, self.down, self.up):
            key = PREFIX + name.replace(".", "_")
            found[f"{key}.lora_down.weight"] = down.detach().half().cpu()
            found[f"{key}.lora_up.weight"] = up.detach().half().cpu()
            found[f"{key}.alpha"] = torch.tensor(float(self.rank))
        return found


def linear_layers(transformer: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The layers that a LoRA changes, with their names."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and name.startswith(BLOCKS) and "norm" not in name:
            yield name, module


def _adding(down: Tensor, up: Tensor) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    """A hook that adds what the factors make of a layer's input to its result."""

    def hook(layer: nn.Module, given: tuple[Any, ...], result: Tensor) -> Tensor:
        return result + nn.functional.linear(nn.functional.linear(given[0], down), up)

    return hook
