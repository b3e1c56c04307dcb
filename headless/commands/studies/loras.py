"""The study `lora` of TransitionBench: LoRAs that were given, or those that it trains first, beside the preset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....benchmarks.loras import training
from ....benchmarks.loras.arms import settings_of
from ....benchmarks.loras.comparing import comparisons, settings_rows
from ....benchmarks.loras.study import bench, given_loras
from ....benchmarks.loras.table import table
from ....models.plain import plain_device
from ....tiny.bundle import load_tiny
from ...workflows.errors import WorkflowError, as_sentences
from .measuring import Measure, report_of

STUDY = "lora"
OPTIONS = ("lora", "trainings")
LORAS = "loras"


def lora_study(
    out: Path,
    seeds: range,
    measure: Measure,
    *,
    lora: Sequence[Path] = (),
    trainings: int | None = None,
) -> dict[str, Any]:
    """Plain, the preset balanced and LoRAs: those of the files in `lora`, or else each kind trained so many times.

    Raises WorkflowError for files that are no LoRAs of the embedded model, and where LoRAs cannot be trained.
    """
    try:
        if lora and trainings is not None:
            raise ValueError("--trainings is for LoRAs that are trained here; leave it out with --lora.")
        if lora:
            settings = settings_of(given_loras(lora, load_tiny()))
        else:
            files = _trained(out, training.TRAININGS if trainings is None else trainings, measure)
            settings = settings_of(files, beside_preset=(training.LORA,))
    except (ValueError, OSError) as error:
        raise WorkflowError(as_sentences(str(error))) from error
    asked = measure.prepared(bench(out, seeds, settings))
    results = measure(asked)
    rows, compared = settings_rows(settings, results), comparisons(settings, results)
    return {
        **report_of(out, asked, results, f"TransitionBench, LoRAs, {len(seeds)} seeds a case"),
        "trained": rows,
        "comparisons": compared,
        "text": table(rows, compared),
    }


def _trained(out: Path, trainings: int, measure: Measure) -> dict[str, list[Path]]:
    """The files of every kind's trainings; what is missing is trained now."""
    if trainings < 1:
        raise ValueError(f"Trainings is {trainings}; give at least 1.")
    wanted = training.recipes_of(out / LORAS, trainings)
    recipes = {file: recipe for kind in wanted.values() for file, recipe in kind.items()}
    run = training.training_run(out, plain_device())
    measure.record.kept += recipes
    training.train_missing(
        run, recipes, lambda done: measure.bars.update("loras", "LoRAs", done, len(recipes))
    )
    measure.bars.close("loras")
    return {name: list(kind) for name, kind in wanted.items()}
