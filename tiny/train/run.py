"""The stages of a run in order, within a time where one is given."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ..bundle import TinyBundle, load_tiny, save_tiny
from .clip import retrieval, write_config
from .clock import Stopwatch
from .curve import draw_curve, read_log
from .judging.evaluate import ROUND, evaluate
from .judging.gates import gate_table
from .stages import (
    CLIP_FILES,
    bundle_of,
    load_trio,
    settings_of,
    train_stage_clip,
    train_stage_codec,
    train_stage_decoder,
    train_stage_dit,
    train_stage_latents,
)
from .state import Run, check_folder, metadata_of

logger = logging.getLogger(__name__)


def evaluated_bundle(run: Run) -> TinyBundle:
    """What the stage evaluate measures: the run's own Trio, or the weights it would begin from while there is none."""
    if run.init is not None and not (run.folder / "trio.safetensors").is_file():
        return load_tiny(weights=run.init, layout=run.init_layout)
    return bundle_of(run, load_trio(run))


def full_evaluation(run: Run, watch: Stopwatch | None = None) -> dict[str, Any]:
    """All figures of docs/lab/TINY-LOG.md, in float32; fewer episodes where the time is short."""
    bundle = evaluated_bundle(run)
    settings = settings_of(run, bfloat16=False)
    size = min(ROUND, 6 * run.evaluate_episodes)
    report = evaluate(bundle, 2 * run.evaluate_episodes, settings, round_size=size, watch=watch)
    folders = [folder for folder in (run.folder, run.init) if folder and (folder / CLIP_FILES[1]).is_file()]
    in_time = watch is None or not watch.over
    return {**report, "clip": retrieval(folders[0])} if folders and in_time else report


def judge(run: Run, watch: Stopwatch | None = None) -> None:
    """Evaluate, and write the report to the log, to evaluation.json and, as far as there are gates, to the console."""
    report = full_evaluation(run, watch)
    run.log(stage="evaluate", step=-1, **report)
    (run.folder / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    logger.info("the gates\n%s", gate_table(report["gates"]))


def export(run: Run, weights: Path) -> None:
    """Write the weights that the pack ships."""
    metadata = metadata_of(run)
    save_tiny(bundle_of(run, load_trio(run)), weights, metadata=metadata, layout=run.recipe.layout)
    model_files = [run.folder / name for name in CLIP_FILES]
    if all(file.is_file() for file in model_files):
        save_file(load_file(model_files[1]), weights / CLIP_FILES[1], {"format": "pt", **metadata})
        write_config(weights)
    draw_curve(read_log(run.folder / "log.jsonl"), run.folder / "curve.png")


def run_stages(
    run: Run, stages: Sequence[str], weights: Path | None = None, watch: Stopwatch | None = None
) -> None:
    """Run stages in order; `weights` is where the export goes, by default a folder of the run.

    With a `watch` they share the time that is left, in proportion to SHARES.
    """
    check_folder(run)
    for number, stage in enumerate(stages):
        own = _share_of_time(stage, stages[number:], watch)
        logger.info("stage %s", stage)
        if stage == "export":
            export(run, weights or run.folder / "weights")
        elif stage == "evaluate":
            judge(run, own)
        else:
            TRAINING[stage](run, own)


def _share_of_time(stage: str, to_come: Sequence[str], watch: Stopwatch | None) -> Stopwatch:
    """A stage's own time of what is left."""
    if watch is None:
        return Stopwatch()
    return Stopwatch(watch.left * SHARES[stage] / sum(SHARES[name] for name in to_come))


TRAINING = {
    "codec": train_stage_codec,
    "latents": train_stage_latents,
    "dit": train_stage_dit,
    "decoder": train_stage_decoder,
    "clip": train_stage_clip,
}
STAGES = (*TRAINING, "evaluate", "export")
# Within a given time weights are written before they are judged: nothing is lost.
TIMED_STAGES = (*TRAINING, "export", "evaluate")
SHARES = {
    "codec": 0.13,
    "latents": 0.15,
    "dit": 0.46,
    "decoder": 0.05,
    "clip": 0.05,
    "export": 0.01,
    "evaluate": 0.15,
}
