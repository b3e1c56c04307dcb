"""A LoRA of the embedded model that follows changes of the prompt, as musubi-tuner would train it on the same examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ...models.files.lora_file import read_lora_file
from ...samplers.store.digest import digest
from ..bundle import load_tiny
from ..precision import autocast
from . import state
from .clock import Stopwatch
from .data.batches import Batches, BatchSource
from .data.captions import CAPTIONS, OneCaptionBatches
from .data.store import ClipStore, load_store
from .learning.errors import ERRORS, RecycledBatches, measure_errors
from .learning.lora import LoraFactors
from .learning.optim import warm_cosine
from .learning.trainer import draw_noise
from .learning.trio import Trio
from .mix import Mix
from .recipe import Recipe
from .stages import load_trio, train_stage_codec, train_stage_latents, trio_of
from .state import Run

FILE = "transition_lora.safetensors"


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """How a LoRA is trained.

    captions: `section` gives each section its own caption; `clip` gives all sections that of the scene that the clip changes
        to, as musubi-tuner does it with a clip that has one caption.
    real: the share of examples at a change of the prompt; None takes all sections equally often.
    after: the share of examples whose memory holds a change.
    errors: `recycled` lets half of the examples remember frames with errors that the model makes; `none` leaves memories clean.
    guidance: the distilled guidance that the model is told; musubi-tuner's is 1 unless it is asked for another.
    shift: how far noise levels are bent towards noise.
    """

    captions: str = "section"
    real: float | None = 0.45
    after: float = 0.15
    errors: str = "none"
    steps: int = 240
    batch: int = 8
    rank: int = 16
    rate: float = 1e-3
    guidance: float = 1.0
    shift: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.captions not in CAPTIONS:
            raise ValueError(f"captions is {self.captions!r}; choose one of {', '.join(CAPTIONS)}.")
        if self.errors not in ERRORS:
            raise ValueError(f"errors is {self.errors!r}; choose one of {', '.join(ERRORS)}.")
        if self.real is not None and not 0 <= self.real <= 1 - self.after:
            raise ValueError(f"real is {self.real}; give a share from 0 to {1 - self.after:g}.")


def lora_batches(store: ClipStore, recipe: LoraRecipe, layout: str) -> Batches:
    """The examples of a training: no caption says what does not happen, but for that of a whole clip."""
    mix = Mix(
        real=recipe.real or 0.0,
        after=recipe.after,
        caption_noise=0.0,
        text_dropout=0.0,
        text_to_video=0.0,
        history_noise=0.0,
    )
    if recipe.real is None:
        mix = replace(mix, **natural_shares(store, mix, recipe, layout))
    batches = OneCaptionBatches if recipe.captions == "clip" else Batches
    return batches(store, mix, recipe.batch, recipe.seed, layout=layout)


def natural_shares(store: ClipStore, mix: Mix, recipe: LoraRecipe, layout: str) -> dict[str, float]:
    """The shares of the kinds where every section of every clip is as frequent as any other."""
    sizes = Batches(store, mix, recipe.batch, recipe.seed, layout=layout).sizes()
    total = sum(sizes.values())
    return {kind: sizes[kind] / total for kind in ("real", "after")}


def recycling(trio: Trio, batches: BatchSource, recipe: LoraRecipe, log: Callable[..., None]) -> BatchSource:
    """The batches with the errors that a Trio makes on them, where the recipe asks for that."""
    if recipe.errors == "none":
        return batches
    errors = measure_errors(trio, batches, recipe.seed)
    log(stage="lora", event="errors", frames=len(errors), size=round(float(errors.square().mean().sqrt()), 4))
    return RecycledBatches(batches, errors, recipe.seed)


def train_lora(
    trio: Trio,
    batches: BatchSource,
    recipe: LoraRecipe,
    *,
    device: torch.device,
    log: Callable[..., None],
    progress: bool = True,
) -> dict[str, Tensor]:
    """Train a LoRA of a Trio's transformer by plain flow matching and give its tensors under musubi-tuner's names.

    The Trio itself does not change.
    """
    trio = trio.requires_grad_(False)
    factors = LoraFactors(trio.dit, recipe.rank, recipe.seed)
    optimizer = torch.optim.AdamW(factors.parameters(), lr=recipe.rate)
    noise = Recipe(shift=recipe.shift, guidance=(recipe.guidance, recipe.guidance))
    with factors.acting_on(trio.dit):
        for step in tqdm(range(recipe.steps), desc="LoRA", disable=not progress):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * warm_cosine(step, step / recipe.steps)
            loss = lora_loss(trio, batches, step, noise=noise, seed=recipe.seed, device=device)
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            log(stage="lora", step=step, loss=round(loss.item(), 5))
    return factors.tensors()


def lora_loss(
    trio: Trio, batches: BatchSource, step: int, *, noise: Recipe, seed: int, device: torch.device
) -> Tensor:
    """The mean squared error of the velocity on the batch of a step."""
    batch = batches.of_step(step)
    drawn = draw_noise(noise, batch.target, seed * 10**8 + step)
    sigma = drawn.sigma.view(-1, 1, 1, 1, 1)
    x = (1 - sigma) * batch.target + sigma * drawn.noise
    with autocast(device):
        predicted = trio(batch, x, drawn.sigma, drawn.guidance)
    loss: Tensor = (predicted - (drawn.noise - batch.target)).square().mean()
    return loss


def train_stage_lora(run: Run, recipe: LoraRecipe, file: Path | None = None) -> None:
    """Train the LoRA of a run's transformer, or of the weights that the run begins from, and leave it in a file.

    By default that lies in the run's folder. Clips are drawn where the run has none yet. A file that is there is replaced.
    """
    trio = base_trio(run)
    for stage in (train_stage_codec, train_stage_latents):
        stage(run, Stopwatch())
    store = load_store(run.folder / "latents.safetensors", run.device)
    batches = lora_batches(store, recipe, run.recipe.layout)
    source = recycling(trio, batches, recipe, run.log)
    tensors = train_lora(trio, source, recipe, device=run.device, log=run.log, progress=run.progress)
    state.write(file or run.folder / FILE, tensors, _facts(recipe, trio))


def is_lora_of(file: Path, trio: Trio, recipe: LoraRecipe) -> bool:
    """Whether a file holds the LoRA that a recipe makes for a Trio."""
    if not file.is_file():
        return False
    _, facts = read_lora_file(file)
    return all(facts.get(name) == value for name, value in _facts(recipe, trio).items())


def base_trio(run: Run) -> Trio:
    """What the LoRA is for: the run's own transformer, or that of the weights it would begin from."""
    if (run.folder / "trio.safetensors").is_file():
        return load_trio(run)
    if run.init is None:
        raise ValueError(
            f"{run.folder} holds no trained transformer; give --init with the weights that the LoRA is for."
        )
    trio = Trio(run.recipe, run.device)
    trio.load_state_dict(trio_of(load_tiny(weights=run.init)))
    return trio


def _facts(recipe: LoraRecipe, trio: Trio) -> dict[str, str]:
    """What the file says of itself, some of it under kohya's names."""
    values: dict[str, Any] = {
        "ss_network_module": "networks.lora_framepack",
        "ss_network_dim": recipe.rank,
        "ss_network_alpha": recipe.rank,
        "made_by": "python -m framepack_transitions.tiny.train --stage lora",
        "recipe": recipe,
        "base": digest(trio.state_dict()),
    }
    return {name: str(value) for name, value in values.items()}
