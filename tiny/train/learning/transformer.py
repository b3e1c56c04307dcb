"""Train the transformer with its text encoder and vision tower: flow matching, then guidance distillation."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ....models.attention.joint import sdpa_attention
from ....models.dit import FramePackDiT
from ....samplers.denoising.denoiser import Branch
from ....samplers.denoising.drivers.base import context_arguments
from ....samplers.sigmas import shift_sigma
from ...bundle import fixed_seed
from ...config import TEXT, VISION
from ...networks.text import TinyText, token_ids
from ...networks.vision import TinyVisionTower
from .. import state
from ..data.batches import Batch, Batches
from ..recipe import Recipe, teacher_weight
from .optim import Optimizer
from .quick import plain_attention

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 120


class Trio(nn.Module):
    """What learns together: the transformer, the text encoder and the vision tower."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__()
        attention = plain_attention if device.type == "cpu" else sdpa_attention
        self.dit = FramePackDiT(recipe.dit, attention=attention)
        self.text = TinyText(TEXT)
        self.vision = TinyVisionTower(VISION)
        self.to(device)

    def forward(
        self, batch: Batch, x: Tensor, sigma: Tensor, guidance: Tensor, *, empty: bool = False
    ) -> Tensor:
        """Velocity [B,16,w,8,8] of x at sigma [B] and distilled scales [B]; `empty` drops the text."""
        tokens, mask = empty_text(batch) if empty else (batch.tokens, batch.mask)
        states, pooled = self.text(tokens, mask)
        arguments = context_arguments(
            Branch(text="positive", context=batch.context, distilled=10.0), len(x), x.device
        )
        if batch.images is not None:
            images = batch.images.permute(0, 3, 1, 2).float() / 127.5 - 1
            arguments["image_embeds"] = self.vision(images)[0]
        arguments["guidance"] = guidance * 1000
        padded = None if mask.all() else mask
        velocity: Tensor = self.dit(x, sigma * 1000, states, attention_mask=padded, y=pooled, **arguments)
        return velocity


def empty_text(batch: Batch) -> tuple[Tensor, Tensor]:
    """The empty prompt for every example."""
    tokens = torch.tensor([token_ids("")], device=batch.tokens.device).expand(len(batch.tokens), -1)
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def share(module: nn.Module) -> nn.Module:
    """A copy of a module with the same weights in memory and gradients of its own."""
    twin = copy.deepcopy(module)
    for own, given in zip(twin.parameters(), module.parameters()):
        own.data = given.data
    return twin


@dataclass(frozen=True)
class Draw:
    """The random part of a step: noise like the target, sigma [B] and guidance [B]."""

    noise: Tensor
    sigma: Tensor
    guidance: Tensor


def draw(recipe: Recipe, target: Tensor, seed: int) -> Draw:
    """The noise of a step. Sigmas are stratified over the batch and shifted as in sampling."""
    generator = torch.Generator().manual_seed(seed)
    count = len(target)
    t = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    low, high = recipe.guidance
    guidance = low + (high - low) * torch.rand(count, generator=generator)
    noise = torch.randn(target.shape, generator=generator)
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

    def __init__(self, recipe: Recipe, batches: Batches, device: torch.device) -> None:
        self.recipe, self.batches, self.device = recipe, batches, device
        with fixed_seed(recipe.seed + 1):
            self.model = Trio(recipe, device)
        self.replicas = [share(self.model) for _ in range(recipe.replicas)]
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.teacher: Trio | None = None
        self.optimizer = Optimizer(self.model.named_parameters())
        self.step = 0
        self.executor = ThreadPoolExecutor(recipe.replicas)

    def train_step(self, rate: float) -> dict[str, float]:
        """One step at a learning rate."""
        losses = list(self.executor.map(self.replica_loss, range(len(self.replicas))))
        self.gather()
        norm = self.optimizer.step(rate, self.recipe.clip_norm, self.executor)
        decay = min(self.recipe.ema, (self.step + 1) / (self.step + 10))
        averaged: list[Tensor] = list(self.average.parameters())
        torch._foreach_lerp_(averaged, [p.data for p in self.model.parameters()], 1 - decay)
        self.step += 1
        return {"loss": sum(losses) / len(losses), "norm": norm}

    def replica_loss(self, replica: int) -> float:
        """Loss of a replica's part of the step, its gradients left on the replica's parameters."""
        model = self.replicas[replica]
        batch = self.batches.of_step(self.step, replica).to(self.device)
        drawn = draw(self.recipe, batch.target, (self.recipe.seed * 10**8 + self.step) * 64 + replica)
        sigma = drawn.sigma.view(-1, 1, 1, 1, 1)
        x = (1 - sigma) * batch.target + sigma * drawn.noise
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            if self.teacher is None:
                wanted = drawn.noise - batch.target
            else:
                wanted = self.teacher_velocity(self.teacher, batch, x, drawn)
            predicted = model(batch, x, drawn.sigma, drawn.guidance)
        weight = loss_weight(batch.subject, drawn.sigma, self.recipe.subject_weight)
        loss = (weight * (predicted - wanted).square()).mean()
        torch.autograd.backward(loss)
        return float(loss.detach())

    @torch.no_grad()
    def teacher_velocity(self, teacher: Trio, batch: Batch, x: Tensor, drawn: Draw) -> Tensor:
        """The teacher's guided velocity, which the distilled scale stands for."""
        conditional: Tensor = teacher(batch, x, drawn.sigma, drawn.guidance)
        unconditional: Tensor = teacher(batch, x, drawn.sigma, drawn.guidance, empty=True)
        weight = teacher_weight(drawn.guidance).view(-1, 1, 1, 1, 1)
        return unconditional + weight * (conditional - unconditional)

    def gather(self) -> None:
        """Average the replicas' gradients on the model."""
        for own, *parts in zip(self.model.parameters(), *(r.parameters() for r in self.replicas)):
            grads = [part.grad for part in parts if part.grad is not None]
            own.grad = torch.stack(grads).sum(0) / len(parts) if grads else torch.zeros_like(own)
            for part in parts:
                part.grad = None

    def begin_from(self, tensors: dict[str, Tensor]) -> None:
        """Start from a Trio's weights instead of random ones."""
        for trio in (self.model, self.average):
            # Copied in place: the replicas look at the same memory.
            trio.load_state_dict(tensors)

    def begin_distillation(self) -> None:
        """Let the average so far teach from now on, and go on from it."""
        self.teacher = copy.deepcopy(self.average)
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
            self.teacher = copy.deepcopy(self.average)
            state.fill(self.teacher, "teacher", tensors)
        self.step = facts["step"]
        return facts


def rate_at(recipe: Recipe, step: int, done: float) -> float:
    """Learning rate: warm-up, constant, a cosine tail over the last part; `done` is the share behind."""
    warm = min(1.0, (step + 1) / recipe.warm_up)
    into_tail = max(0.0, (done - (1 - recipe.tail)) / recipe.tail)
    return recipe.rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(into_tail, 1))) / 2)


@dataclass
class Clock:
    """How far a run is, by steps or minutes, whichever is further; `before` are seconds of earlier parts."""

    steps: int
    minutes: float
    before: float = 0.0

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self.before + time.monotonic() - self._began

    def done(self, step: int) -> float:
        """Share of the run that is behind, 0 to 1."""
        return min(1.0, max(step / self.steps if self.steps else 1.0, self.seconds / (60 * self.minutes)))


def train_transformer(
    recipe: Recipe,
    batches: Batches,
    *,
    folder: Path,
    device: torch.device,
    log: Callable[..., None],
    minutes: float = math.inf,
    progress: bool = True,
    on_checkpoint: Callable[[Trio, int], None] | None = None,
    init: dict[str, Tensor] | None = None,
) -> Trio:
    """Train until steps or minutes are over and give the average; goes on from the folder's checkpoint.

    Without a checkpoint it begins from a Trio's weights `init`, or from random ones.
    """
    trainer = Trainer(recipe, batches, device)
    path, before = folder / "dit_checkpoint.safetensors", 0.0
    if path.is_file():
        before = trainer.load(path)["seconds"]
    elif init is not None:
        trainer.begin_from(init)
    clock = Clock(recipe.steps, minutes, before)
    saved = time.monotonic()
    bar = tqdm(initial=trainer.step, total=recipe.steps, desc="transformer", disable=not progress)
    while (done := clock.done(trainer.step)) < 1:
        if trainer.teacher is None and done >= 1 - recipe.distillation:
            trainer.begin_distillation()
            log(stage="dit", step=trainer.step, event="distillation begins")
        facts = trainer.train_step(rate_at(recipe, trainer.step, done))
        bar.update()
        if trainer.step % 20 == 0:
            bar.set_postfix(loss=f"{facts['loss']:.4f}")
            log(
                stage="dit",
                step=trainer.step,
                done=round(done, 4),
                distilling=trainer.teacher is not None,
                **{name: round(value, 5) for name, value in facts.items()},
            )
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            trainer.save(path, {"seconds": clock.seconds})
            saved = time.monotonic()
            if on_checkpoint is not None:
                on_checkpoint(trainer.average, trainer.step)
    trainer.save(path, {"seconds": clock.seconds})
    return trainer.average
