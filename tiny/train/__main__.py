"""Make the embedded model: `python -m framepack_transitions.tiny.train --stage all --seed 0`."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch

from .recipe import PRESETS
from .run import STAGES, run_stages
from .state import Run


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m framepack_transitions.tiny.train", description=__doc__)
    p.add_argument(
        "--stage",
        choices=(*STAGES, "all"),
        default="all",
        help="one stage, or all in order; finished stages are skipped, a broken-off one goes on",
    )
    p.add_argument("--preset", choices=PRESETS, help="sizes of the run (default: by the device)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--steps", type=int, default=None, help="steps of the transformer")
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
        "--evaluate-minutes", type=float, default=10.0, help="time between evaluations in training"
    )
    p.add_argument(
        "--evaluate-episodes",
        type=int,
        default=16,
        help="episodes of each event in them; the stage evaluate takes twice as many",
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


def main() -> None:
    """Run the stages that the command line asks for."""
    options = parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    device = torch.device(options.device)
    recipe = PRESETS[options.preset or ("cpu" if device.type == "cpu" else "gpu")]
    recipe = replace(
        recipe, seed=options.seed, steps=recipe.steps if options.steps is None else options.steps
    )
    if options.rate is not None:
        recipe = replace(recipe, rate=options.rate)
    if options.caption_noise is not None:
        recipe = replace(recipe, mix=replace(recipe.mix, caption_noise=options.caption_noise))
    if device.type == "cpu":
        # Replicas are threads of their own: they do not wait for each other inside every operation.
        torch.set_num_threads(1)
    if options.init is not None and not (options.init / "dit.safetensors").is_file():
        raise SystemExit(
            f"{options.init} holds no dit.safetensors; give a folder that an export has written."
        )
    run = Run(
        recipe=recipe,
        folder=options.out,
        device=device,
        minutes=options.minutes,
        evaluate_minutes=options.evaluate_minutes,
        evaluate_episodes=options.evaluate_episodes,
        init=options.init,
    )
    run_stages(run, STAGES if options.stage == "all" else (options.stage,), options.weights)


if __name__ == "__main__":
    main()
