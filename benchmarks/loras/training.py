"""The LoRAs that the study compares: which kinds there are, and the training of those that are not there yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from ...tiny.bundle import DIT_FILES, WEIGHTS
from ...tiny.threads import one_thread
from ...tiny.train.lora import LoraRecipe, base_trio, is_lora_of, train_stage_lora
from ...tiny.train.recipe import CPU
from ...tiny.train.state import Run, check_folder

LORA, ONE_CAPTION, RECYCLED = "LoRA", "one-caption LoRA", "recycled LoRA"
# All with the same share of examples at a change of the prompt, so that captions or errors alone differ.
KINDS = {
    LORA: LoraRecipe(),
    ONE_CAPTION: LoraRecipe(captions="clip"),
    RECYCLED: LoraRecipe(errors="recycled"),
}
TRAININGS = 3  # of each kind, with a seed of its own
CLIPS = 500
FOLDER = "training"


def training_run(out: Path, device: torch.device, weights: Path = WEIGHTS) -> Run:
    """The run that the LoRAs are trained in, below a folder: its clips, its log, and the weights that they are for.

    Raises ValueError where the embedded model has no trained weights.
    """
    if not (weights / DIT_FILES["f1"]).is_file():
        raise ValueError(
            f"the embedded model has no trained weights in {weights}, for which a LoRA could be trained; install the pack "
            "again, or give LoRAs with --lora."
        )
    return Run(recipe=replace(CPU, clips=CLIPS), folder=out / FOLDER, device=device, init=weights)


def recipes_of(
    folder: Path, trainings: int, kinds: Mapping[str, LoraRecipe] = KINDS
) -> dict[str, dict[Path, LoraRecipe]]:
    """For each kind the files of its trainings, each with its recipe."""
    return {
        name: {
            folder / f"{name.replace(' ', '_')}_{seed}.safetensors": replace(recipe, seed=seed)
            for seed in range(trainings)
        }
        for name, recipe in kinds.items()
    }


def train_missing(
    run: Run, wanted: Mapping[Path, LoraRecipe], on_trained: Callable[[int], None] = lambda done: None
) -> None:
    """Train the LoRAs that are not there yet, or were trained otherwise; `on_trained` hears after each how many are there.

    With one thread, so that numbers do not depend on how many cores there are. Raises ValueError where the run's folder
    was for other weights.
    """
    check_folder(run)
    with one_thread():
        trio = base_trio(run)
        for done, (file, recipe) in enumerate(wanted.items(), 1):
            if not is_lora_of(file, trio, recipe):
                train_stage_lora(run, recipe, file)
            on_trained(done)
