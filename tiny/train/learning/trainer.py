"""One step of training after another: flow matching, then guidance distillation."""

from __future__ import annotations

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....samplers.sigmas import shift_sigma
from ...bundle import fixed_seed
from ...precision import autocast
from .. import state
from ..data.batches import Batch, Batches
from ..recipe import Recipe, teacher_weight
from .optim import Optimizer
from .trio import Trio, compile_blocks, share


@dataclass(frozen=True)
class Draw:
    """The random part of a step: noise like the target, sigma [B] and guidance [B]."""

    noise: Tensor
    sigma: Tensor
    guidance: Tensor


def draw_noise(recipe: Recipe, target: Tensor, seed: int) -> Draw:
    """The noise of a step. Sigmas are stratified over the batch and shifted as in sampling."""
    device, count = target.device, len(target)
    generator = torch.Generator(device).manual_seed(seed)
    order, jitter, third = (
        draw(count, generator=generator, device=device) for draw in (torch.randperm, torch.rand, torch.rand)
    )
    t = (order + jitter) / count
    low, high = recipe.guidance
    guidance = low + (high - low) * third
    noise = torch.randn(target.shape, generator=generator, device=device)
    sigma = shift_sigma(t.clamp(1e-4, 1 - 1e-6), recipe.shift)
    return Draw(noise.to(target), sigma.to(target), guidance.to(target))


def loss_weight(subject: Tensor, sigma: Tensor, strength: float) -> Tensor:
    """Weights [B,1,w,8,8] of mean 1 that favour where a subject is, bool [B,w,8,8], the more the less noise there is.

    A subject covers a fifth of the picture, and its shape is decided late. In pure noise nobody knows where it will be:
    a weight there would only teach the model to expect subjects.
    """
    weight = 1 + strength * (1 - sigma.view(-1, 1, 1, 1, 1)) * subject[:, None]
    return weight / weight.mean()


class Trainer:
    """Trains a Trio; everything that a step does follows from the recipe, the data and the step's number."""

    def __init__(
        self, recipe: Recipe, batches: Batches, device: torch.device, *, compiled: bool = False
    ) -> None:
        self.recipe, self.batches, self.device = recipe, batches, device
        with fixed_seed(recipe.seed + 1):
            self.model = Trio(recipe, device)
        for encoder in (self.model.text, self.model.vision):
            encoder.requires_grad_(recipe.encoders)
        self.replicas = [share(self.model) for _ in range(recipe.replicas)]
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.teacher: Trio | None = None
        self.optimizer = Optimizer((name, p) for name, p in self.model.named_parameters() if p.requires_grad)
        self.step = 0
        self.data_seconds, self._asked = 0.0, time.perf_counter()
        self._compiled = compiled
        if compiled:
            for replica in self.replicas:
                compile_blocks(replica)
        self.executor = ThreadPoolExecutor(recipe.replicas)

    def train_step(self, rate: float) -> dict[str, Tensor]:
        """One step at a learning rate; gives its loss and the gradient's norm, which nobody has waited for yet."""
        losses = list(self.executor.map(self.replica_loss, range(len(self.replicas))))
        self.gather()
        norm = self.optimizer.step(rate, self.recipe.clip_norm, self.executor)
        decay = min(self.recipe.ema, (self.step + 1) / (self.step + 10))
        averaged: list[Tensor] = list(self.average.parameters())
        torch._foreach_lerp_(averaged, [p.data for p in self.model.parameters()], 1 - decay)
        self.step += 1
        return {"loss": torch.stack(losses).mean(), "norm": norm}

    def _timed_batch(self, replica: int) -> Batch:
        """A replica's batch; the time that it takes to ask for it is noted."""
        began = time.perf_counter()
        batch = self.batches.of_step(self.step, replica)
        self.data_seconds += time.perf_counter() - began
        return batch

    def data_share(self) -> float:
        """Share of the time since this was last asked in which a replica waited for its batch."""
        now = time.perf_counter()
        share_of_time = self.data_seconds / len(self.replicas) / (now - self._asked)
        self.data_seconds, self._asked = 0.0, now
        return share_of_time

    def replica_loss(self, replica: int) -> Tensor:
        """Loss of a replica's part of the step, its gradients left on the replica's parameters."""
        model = self.replicas[replica]
        batch = self._timed_batch(replica)
        drawn = draw_noise(self.recipe, batch.target, (self.recipe.seed * 10**8 + self.step) * 64 + replica)
        sigma = drawn.sigma.view(-1, 1, 1, 1, 1)
        x = (1 - sigma) * batch.target + sigma * drawn.noise
        with autocast(self.device):
            if self.teacher is None:
                wanted = drawn.noise - batch.target
            else:
                wanted = self.teacher_velocity(self.teacher, batch, x, drawn)
            predicted = model(batch, x, drawn.sigma, drawn.guidance)
        weight = loss_weight(batch.subject, drawn.sigma, self.recipe.subject_weight)
        loss: Tensor = (weight * (predicted - wanted).square()).mean()
        torch.autograd.backward(loss)
        return loss.detach()

    @torch.no_grad()
    def teacher_velocity(self, teacher: Trio, batch: Batch, x: Tensor, drawn: Draw) -> Tensor:
        """The teacher's guided velocity, which the distilled scale stands for."""
        conditional: Tensor = teacher(batch, x, drawn.sigma, drawn.guidance)
        unconditional: Tensor = teacher(batch, x, drawn.sigma, drawn.guidance, empty=True)
        weight = teacher_weight(drawn.guidance).view(-1, 1, 1, 1, 1)
        return unconditional + weight * (conditional - unconditional)

    def gather(self) -> None:
        """Average the replicas' gradients on what learns of the model."""
        for own, *parts in zip(self.model.parameters(), *(r.parameters() for r in self.replicas)):
            if not own.requires_grad:
                continue
            grads = [part.grad for part in parts if part.grad is not None]
            if len(parts) == len(grads) == 1:
                own.grad = grads[0]
            else:
                own.grad = torch.stack(grads).sum(0) / len(parts) if grads else torch.zeros_like(own)
            for part in parts:
                part.grad = None

    def begin_from(self, tensors: dict[str, Tensor]) -> None:
        """Start from a Trio's weights instead of random ones."""
        for trio in (self.model, self.average):
            # Copied in place: the replicas look at the same memory.
            trio.load_state_dict(tensors)

    def _new_teacher(self) -> Trio:
        """A copy of the average."""
        teacher = copy.deepcopy(self.average)
        if self._compiled:
            compile_blocks(teacher)
        return teacher

    def begin_distillation(self) -> None:
        """Let the average so far teach from now on, and go on from it."""
        self.teacher = self._new_teacher()
        for own, averaged in zip(self.model.parameters(), self.average.parameters()):
            own.data.copy_(averaged)

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Keep everything that the next step depends on."""
        tensors = state.prefixed("model", self.model.state_dict())
        tensors |= state.prefixed("average", self.average.state_dict())
        tensors |= state.prefixed("optimizer", self.optimizer.state())
        if self.teacher is not None:
            tensors |= state.prefixed("teacher", self.teacher.state_dict())
        state.save(path, tensors, {**facts, "step": self.step})

    def load(self, path: Path) -> dict[str, Any]:
        """Go on from what `save` kept; gives its facts."""
        tensors, facts = state.load(path)
        # Copied in place: the replicas look at the same memory.
        state.fill(self.model, "model", tensors)
        state.fill(self.average, "average", tensors)
        self.optimizer.load(state.under("optimizer", tensors))
        if state.under("teacher", tensors):
            self.teacher = self._new_teacher()
            state.fill(self.teacher, "teacher", tensors)
        self.step = facts["step"]
        return facts
