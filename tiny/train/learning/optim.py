"""The optimizer of the transformers: Muon for the matrices inside blocks, AdamW for everything else."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Executor

import torch
from torch import Tensor, nn

from ...precision import bears_bfloat16

# Coefficients of the quintic whose iteration sends singular values towards 1 (Jordan et al. 2024, Muon).
QUINTIC = (3.4445, -4.7750, 2.0315)


def warm_cosine(step: int, done: float) -> float:
    """Factor of a learning rate: a warm-up of 100 steps, then half a cosine down to 0.02; `done` is the share behind."""
    return min(1, (step + 1) / 100) * (0.02 + 0.98 * math.cos(math.pi / 2 * done) ** 2)


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Send the singular values of matrices [N,rows,columns] to about 1; in bfloat16 where the device bears it."""
    a, b, c = QUINTIC
    x: Tensor = matrices.bfloat16() if bears_bfloat16(matrices.device) else matrices.float()
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = x if wide else x.mT
    return orthogonal.to(matrices.dtype)


def is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon takes a parameter: a matrix of a block that is no modulation."""
    return parameter.ndim == 2 and "blocks." in name and "norm" not in name


class Muon:
    """Momentum whose update is orthogonalised and as large as AdamW's (Liu et al. 2025, arXiv 2502.16982).

    `moments` is the state, one tensor a parameter, by the parameter's name.
    """

    def __init__(
        self, parameters: dict[str, nn.Parameter], momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        self.parameters = parameters
        self.momentum, self.decay = momentum, decay
        self.moments = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._shapes: dict[torch.Size, list[str]] = defaultdict(list)
        for name, parameter in parameters.items():
            self._shapes[parameter.shape].append(name)

    @torch.no_grad()
    def step(self, rate: float, executor: Executor | None = None) -> None:
        """Change the parameters by their gradients; equal shapes are orthogonalised together."""
        groups = [
            names[first : first + 8] for names in self._shapes.values() for first in range(0, len(names), 8)
        ]
        list((executor.map if executor else map)(lambda names: self._step_group(names, rate), groups))

    @torch.no_grad()
    def _step_group(self, names: list[str], rate: float) -> None:
        for name in names:
            self.moments[name].lerp_(self._grad(name), 1 - self.momentum)
        updates = orthogonalize(
            torch.stack([self._grad(name).lerp(self.moments[name], self.momentum) for name in names])
        )
        scale = 0.2 * max(updates.shape[-2:]) ** 0.5
        for name, update in zip(names, updates):
            self.parameters[name].mul_(1 - rate * self.decay).add_(update, alpha=-rate * scale)

    def _grad(self, name: str) -> Tensor:
        grad = self.parameters[name].grad
        if grad is None:
            raise ValueError(f"{name} has no gradient: call backward() before step().")
        return grad


class Optimizer:
    """Muon and AdamW over named parameters, with one learning rate; its state is a dict of tensors."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]]) -> None:
        self.named = dict(named)
        matrices = {name: p for name, p in self.named.items() if is_block_matrix(name, p)}
        self.muon = Muon(matrices)
        self.rest = {name: p for name, p in self.named.items() if name not in matrices}
        self.adam = torch.optim.AdamW(self.rest.values(), betas=(0.9, 0.98), weight_decay=0.0, foreach=True)

    def step(self, rate: float, clip: float, executor: Executor | None = None) -> Tensor:
        """Clip the gradient to norm `clip`, change the parameters, drop the gradients; gives the norm."""
        norm = nn.utils.clip_grad_norm_(self.named.values(), clip)
        for group in self.adam.param_groups:
            group["lr"] = rate / 2
        self.adam.step()
        self.muon.step(rate, executor)
        for parameter in self.named.values():
            parameter.grad = None
        return norm

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on beside the parameters."""
        state = {f"muon.{name}": value for name, value in self.muon.moments.items()}
        for name, parameter in self.rest.items():
            kept = self.adam.state.get(parameter, {})
            state |= {f"adam.{key}.{name}": value for key, value in kept.items()}
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, moment in self.muon.moments.items():
            moment.copy_(state[f"muon.{name}"])
        for name, parameter in self.rest.items():
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"adam.{key}.{name}" in state]
            if keys:
                self.adam.state[parameter] = {
                    key: state[f"adam.{key}.{name}"].to("cpu" if key == "step" else parameter.device)
                    for key in keys
                }
