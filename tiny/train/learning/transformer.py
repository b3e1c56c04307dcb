"""The loop of the transformer's training, within steps and minutes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..clock import Stopwatch
from ..data.batches import Batches
from ..recipe import Recipe
from .trainer import Trainer
from .trio import Trio

CHECKPOINT_SECONDS = 120
LOGGED = 20  # steps between lines of the log


def rate_at(recipe: Recipe, step: int, done: float) -> float:
    """Learning rate: warm-up, constant, a cosine tail over the last part; `done` is the share behind."""
    warm = min(1.0, (step + 1) / recipe.warm_up)
    into_tail = max(0.0, (done - (1 - recipe.tail)) / recipe.tail)
    return recipe.rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(into_tail, 1))) / 2)


@dataclass
class Progress:
    """How far a run is, by steps or minutes, whichever is further."""

    steps: int
    watch: Stopwatch

    def done(self, step: int) -> float:
        """Share of the run that is behind, 0 to 1."""
        return min(1.0, max(step / self.steps if self.steps else 1.0, self.watch.done))


def train_transformer(
    recipe: Recipe,
    batches: Batches,
    *,
    folder: Path,
    device: torch.device,
    log: Callable[..., None],
    minutes: float = math.inf,
    seconds_left: float = math.inf,
    progress: bool = True,
    on_checkpoint: Callable[[Trio, int], None] | None = None,
    init: dict[str, Tensor] | None = None,
    compiled: bool = False,
) -> Trio:
    """Train until steps, minutes or seconds are over and give the average; goes on from the folder's checkpoint.

    `minutes` counts those of earlier calls on the folder, `seconds_left` begins now.

    Without a checkpoint it begins from a Trio's weights `init`, or from random ones.
    """
    trainer = Trainer(recipe, batches, device, compiled=compiled)
    path, before = folder / "dit_checkpoint.safetensors", 0.0
    if path.is_file():
        before = trainer.load(path)["seconds"]
    elif init is not None:
        trainer.begin_from(init)
    progress_of = Progress(recipe.steps, Stopwatch(min(60 * minutes, before + seconds_left), before))
    saved = time.monotonic()
    bar = tqdm(initial=trainer.step, total=recipe.steps, desc="transformer", disable=not progress)
    while (done := progress_of.done(trainer.step)) < 1:
        if trainer.teacher is None and done >= 1 - recipe.distillation:
            trainer.begin_distillation()
            log(stage="dit", step=trainer.step, event="distillation begins")
        facts = trainer.train_step(rate_at(recipe, trainer.step, done))
        bar.update()
        if trainer.step % LOGGED == 0:
            _note(trainer, facts, done=done, log=log, bar=bar)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            trainer.save(path, {"seconds": progress_of.watch.seconds})
            saved = time.monotonic()
            if on_checkpoint is not None:
                on_checkpoint(trainer.average, trainer.step)
    trainer.save(path, {"seconds": progress_of.watch.seconds})
    return trainer.average


def _note(
    trainer: Trainer, facts: dict[str, Tensor], *, done: float, log: Callable[..., None], bar: Any
) -> None:
    """Log a step, and how much of a step's time is spent on asking for its data."""
    values = {name: round(float(value), 5) for name, value in facts.items()}
    bar.set_postfix(loss=f"{values['loss']:.4f}")
    log(
        stage="dit",
        step=trainer.step,
        done=round(done, 4),
        distilling=trainer.teacher is not None,
        data_share=round(trainer.data_share(), 4),
        **values,
    )
