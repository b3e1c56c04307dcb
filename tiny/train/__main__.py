"""Make the embedded model: `python -m framepack_transitions.tiny.train --stage all --seed 0`."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch

from ..bundle import DIT_FILES
from .clock import Stopwatch
from .data.captions import CAPTIONS
from .learning.errors import ERRORS
from .lora import LoraRecipe, train_stage_lora
from .recipe import PRESETS, Recipe
from .run import STAGES, TIMED_STAGES, run_stages
from .state import Run


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m framepack_transitions.tiny.train", description=__doc__)
    p.add_argument(
        "--stage",
        choices=(*STAGES, "lora", "all"),
        default="all",
        help="one stage, or all in order; finished stages are skipped, a broken-off one goes on. lora is none of them: it "
        "trains a LoRA of the finished transformer, or of --init",
    )
    p.add_argument("--preset", choices=PRESETS, help="sizes of the run (default: by the device)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--steps", type=int, default=None, help="steps of the transformer")
    p.add_argument("--clip-steps", type=int, metavar="STEPS", help="steps of the evaluators' CLIP")
    p.add_argument(
        "--caption-noise",
        type=float,
        metavar="SHARE",
        help="share of examples whose prompt says a change that does not happen (default: the preset's)",
    )
    p.add_argument(
        "--rate", type=float, help="highest learning rate of the transformer (default: the preset's)"
    )
    p.add_argument(
        "--minutes", type=float, default=float("inf"), help="end the transformer's training after these"
    )
    p.add_argument(
        "--within",
        type=float,
        metavar="MINUTES",
        help="all stages in this many minutes from now on; what takes longer gets fewer clips, steps and episodes",
    )
    p.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="compile the transformer's blocks (default: on a GPU, within a given time)",
    )
    p.add_argument(
        "--skip",
        nargs="+",
        choices=STAGES,
        default=[],
        metavar="STAGE",
        help="stages to leave out, such as clip where open_clip is not installed",
    )
    p.add_argument("--clips", type=int, help="clips to draw, at most (default: the preset's)")
    p.add_argument("--batch", type=int, help="examples of a step (default: the preset's)")
    p.add_argument(
        "--evaluate-minutes", type=float, default=10.0, help="time between evaluations in training"
    )
    p.add_argument(
        "--evaluate-episodes",
        type=int,
        default=16,
        help="episodes of each event in them; the stage evaluate takes twice as many",
    )
    p.add_argument(
        "--captions",
        choices=CAPTIONS,
        default=LoraRecipe.captions,
        help="lora: one caption a section, or one a clip (%(default)s)",
    )
    p.add_argument(
        "--switches",
        type=_share,
        default=LoraRecipe.real,
        metavar="SHARE",
        help="lora: share of examples at a change of the prompt; `natural` takes sections as they come (%(default)s)",
    )
    p.add_argument(
        "--errors",
        choices=ERRORS,
        default=LoraRecipe.errors,
        help="lora: what the examples remember is clean, or holds errors that the model makes (%(default)s)",
    )
    p.add_argument("--device", default="cpu")
    p.add_argument(
        "--out", type=Path, default=Path("build/tiny"), help="folder of the run, with its checkpoints"
    )
    p.add_argument(
        "--init",
        type=Path,
        help="begin from the weights in this folder, as the export writes them, and keep their codec",
    )
    p.add_argument("--weights", type=Path, help="where to write the weights (default: OUT/weights)")
    return p


def _share(text: str) -> float | None:
    try:
        return None if text == "natural" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a share nor natural") from None


def lora_recipe_of(options: argparse.Namespace) -> LoraRecipe:
    """How the LoRA is trained: as the command line says, with --steps, --batch, --rate and --seed for it."""
    given = {name: getattr(options, name) for name in ("steps", "batch", "rate", "seed")}
    given = {name: value for name, value in given.items() if value is not None}
    return LoraRecipe(captions=options.captions, real=options.switches, errors=options.errors, **given)


def time_limit(minutes: float) -> float:
    """Seconds that the stages may take within these minutes: starting, compiling and stopping take some as well."""
    return 60 * minutes * 0.95 - 5


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The preset, with what the command line says otherwise."""
    device = torch.device(options.device)
    recipe = PRESETS[options.preset or ("cpu" if device.type == "cpu" else "gpu")]
    names = ("seed", "steps", "clip_steps", "rate", "clips", "batch")
    given = {name: getattr(options, name) for name in names}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    if options.caption_noise is not None:
        recipe = replace(recipe, mix=replace(recipe.mix, caption_noise=options.caption_noise))
    return recipe


def main() -> None:
    """Run the stages that the command line asks for."""
    watch = Stopwatch()
    options = parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    device = torch.device(options.device)
    if device.type == "cpu":
        # Replicas are threads of their own: they do not wait for each other inside every operation.
        torch.set_num_threads(1)
    if options.init is not None and not any((options.init / name).is_file() for name in DIT_FILES.values()):
        raise SystemExit(
            f"{options.init} holds no {' or '.join(DIT_FILES.values())}; give a folder that an export has written."
        )
    timed = options.within is not None
    run = Run(
        recipe=recipe_of(options),
        folder=options.out,
        device=device,
        minutes=options.minutes,
        evaluate_minutes=float("inf") if timed else options.evaluate_minutes,
        evaluate_episodes=options.evaluate_episodes,
        init=options.init,
        compiled=(timed and device.type == "cuda") if options.compile is None else options.compile,
    )
    if options.stage == "lora":
        train_stage_lora(run, lora_recipe_of(options))
        return
    every = TIMED_STAGES if timed else STAGES
    stages = every if options.stage == "all" else (options.stage,)
    if timed:
        watch.limit = time_limit(options.within)
    kept = [stage for stage in stages if stage not in options.skip]
    run_stages(run, kept, options.weights, watch if timed else None)


if __name__ == "__main__":
    main()
