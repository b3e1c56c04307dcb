"""The stages of a run, in order; each leaves a file in the run's folder and is skipped when it is there."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .. import world
from ..bundle import TinyBundle, fixed_seed, load_tiny, save_tiny
from ..networks.codec import TinyCodec
from ..source import source_digest
from ..wrappers import TinyClip, TinyVAE, TinyVision
from . import state
from .clip import retrieval, save_clip, train_clip, write_config
from .codec import draw_frames, psnr, train_codec, train_decoder
from .curve import draw_curve, read_log
from .data.batches import Batches
from .data.clips import ClipLatents, load_latents, make_latents, save_latents
from .evaluate import codec_reading, evaluate
from .quick import quick_blocks
from .recipe import DISTILLED_SLOPE, Recipe
from .transformer import Trio, train_transformer

logger = logging.getLogger(__name__)

CLIP_FILES = ("tiny-clip.json", "clip.safetensors")


@dataclass(frozen=True)
class Run:
    """A run: its recipe, folder and device; `minutes` bounds the transformer's training.

    `init` is a folder of weights that the export wrote: the run keeps their codec and begins from their transformer,
    text encoder and vision tower.
    """

    recipe: Recipe
    folder: Path
    device: torch.device
    minutes: float = float("inf")
    progress: bool = True
    evaluate_minutes: float = 10.0
    evaluate_episodes: int = 16
    init: Path | None = None

    def log(self, **facts: Any) -> None:
        """Add a line to the run's log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **facts}) + "\n")


def train_stage_codec(run: Run) -> None:
    """Draw frames and train the codec on them."""
    file = run.folder / "codec.safetensors"
    if file.is_file():
        return
    if run.init is not None:
        run.log(stage="init", **metadata_in(run.init))
        state.save(file, load_tiny(weights=run.init).vae.codec.float().state_dict(), {})
        return
    recipe = run.recipe
    frames = draw_frames(recipe.codec_clips, recipe.seed)
    with fixed_seed(recipe.seed):
        codec = TinyCodec()
    train_codec(
        codec,
        frames,
        recipe.codec_steps,
        recipe.codec_rate,
        recipe.seed,
        run.device,
        run.log,
        progress=run.progress,
    )
    run.log(stage="codec", psnr=round(psnr(codec, frames[:100], run.device), 2))
    state.save(file, codec.state_dict(), {})


def train_stage_decoder(run: Run) -> None:
    """Go on with the codec's decoder, on new frames."""
    file = run.folder / "decoder.safetensors"
    if file.is_file():
        return
    recipe, codec = run.recipe, load_codec(run)
    frames = draw_frames(recipe.codec_clips, recipe.seed + 1)
    train_decoder(
        codec, frames, recipe.decoder_steps, recipe.codec_rate, recipe.seed, run.device, run.log, run.progress
    )
    run.log(stage="decoder", psnr=round(psnr(codec, frames[:100], run.device), 2))
    state.save(file, codec.decoder.state_dict(), {})


def load_codec(run: Run) -> TinyCodec:
    """The run's trained codec, with the better decoder if there is one yet."""
    codec, better = TinyCodec(), run.folder / "decoder.safetensors"
    codec.load_state_dict(state.load(run.folder / "codec.safetensors")[0])
    if better.is_file():
        codec.decoder.load_state_dict(state.load(better)[0])
    return codec.to(run.device).eval().requires_grad_(False)


def train_stage_latents(run: Run) -> None:
    """Draw the clips and encode them."""
    file = run.folder / "latents.safetensors"
    if not file.is_file():
        recipe = run.recipe
        save_latents(
            make_latents(
                load_codec(run), recipe.clips, recipe.mix.window_5, recipe.seed, run.device, run.progress
            ),
            file,
        )


def run_latents(run: Run) -> ClipLatents:
    """The run's clips."""
    return load_latents(run.folder / "latents.safetensors")


def bundle_of(run: Run, trio: Trio) -> TinyBundle:
    """The embedded model as the pack loads it, of the run's codec and a Trio's weights."""
    trio = trio.eval().requires_grad_(False)
    return TinyBundle(trio.dit, TinyClip(trio.text), TinyVAE(load_codec(run)), TinyVision(trio.vision), True)


class Judge:
    """Evaluates the average now and then during training, and logs what it finds."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.last = time.monotonic()

    def __call__(self, trio: Trio, step: int) -> None:
        if time.monotonic() - self.last < 60 * self.run.evaluate_minutes:
            return
        report = evaluate(bundle_of(self.run, trio), self.run.evaluate_episodes, trials={"plain": ()})
        self.run.log(stage="evaluate", step=step, **report)
        self.last = time.monotonic()


def train_stage_dit(run: Run) -> None:
    """Train transformer, text encoder and vision tower."""
    file = run.folder / "trio.safetensors"
    if file.is_file():
        return
    recipe = run.recipe
    batches = Batches(run_latents(run), recipe.mix, recipe.batch, recipe.seed)
    init = None if run.init is None else trio_of(load_tiny(weights=run.init))
    with quick_blocks(run.device):
        trio = train_transformer(
            recipe, batches, run.folder, run.device, run.log, run.minutes, run.progress, Judge(run), init
        )
    state.save(file, trio.state_dict(), {})


def trio_of(bundle: TinyBundle) -> dict[str, torch.Tensor]:
    """The weights of a Trio, from the embedded model as the pack loads it."""
    parts = {"dit": bundle.dit, "text": bundle.clip.encoder, "vision": bundle.clip_vision.tower}
    return {
        f"{name}.{key}": value.float()
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }


def load_trio(run: Run, file: str = "trio.safetensors") -> Trio:
    """The run's trained average, or that of its last checkpoint."""
    trio = Trio(run.recipe, run.device)
    tensors, _ = state.load(run.folder / file)
    trio.load_state_dict(state.under("average", tensors) or tensors)
    return trio


def train_stage_clip(run: Run) -> None:
    """Train the CLIP of the evaluators."""
    file = run.folder / "clip.safetensors"
    if file.is_file():
        return
    recipe = run.recipe
    model = train_clip(
        load_codec(run),
        run.folder,
        recipe.clip_steps,
        recipe.seed,
        run.device,
        run.log,
        run.progress,
        init=run.init and run.init / CLIP_FILES[1],
    )
    save_clip(model, file, {})


def metadata_of(run: Run) -> dict[str, str]:
    """How the weights were made, for their files."""
    steps = [entry["step"] for entry in read_log(run.folder / "log.jsonl") if entry["stage"] == "dit"]
    return {
        "made_by": "python -m framepack_transitions.tiny.train",
        "device": run.device.type,
        "steps_done": str(max(steps, default=0)),
        "recipe": json.dumps(asdict(run.recipe)),
        "guidance": f"distilled from v_u + (1 + {DISTILLED_SLOPE} g) (v_c - v_u), g from 1 to 20, fed as g * 1000",
        **({} if run.init is None else {"continues": json.dumps(metadata_in(run.init))}),
    }


def metadata_in(weights: Path) -> dict[str, str]:
    """How the weights in a folder were made."""
    with safe_open(weights / "dit.safetensors", framework="pt") as file:
        return {name: value for name, value in file.metadata().items() if name != "format"}


def facts_of(run: Run) -> dict[str, Any]:
    """What a folder's finished stages depend on: the recipe but for its length, the weights it began from, the world."""
    recipe = {name: value for name, value in asdict(run.recipe).items() if name != "steps"}
    began = None if run.init is None else metadata_in(run.init)
    facts: dict[str, Any] = json.loads(
        json.dumps({"recipe": recipe, "init": began, "world": source_digest(world)})
    )
    return facts


def check_folder(run: Run) -> None:
    """Note what a folder is for, or raise ValueError when it holds the stages of another run."""
    file, facts = run.folder / "run.json", facts_of(run)
    if not file.is_file():
        run.folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return
    kept = json.loads(file.read_text(encoding="utf-8"))
    changed = [name for name in facts if facts[name] != kept.get(name)]
    if changed:
        raise ValueError(
            f"{run.folder} holds stages of a run with another {' and another '.join(changed)}; give an --out of its own."
        )


def judged_bundle(run: Run) -> TinyBundle:
    """What `evaluate` judges: the run's own Trio, or the weights it would begin from while there is none."""
    if run.init is not None and not (run.folder / "trio.safetensors").is_file():
        return load_tiny(weights=run.init)
    return bundle_of(run, load_trio(run))


def judge(run: Run) -> dict[str, Any]:
    """All figures of docs/lab/TINY-LOG.md."""
    bundle = judged_bundle(run)
    report = {**evaluate(bundle, 2 * run.evaluate_episodes), "codec": codec_reading(bundle)}
    folders = [folder for folder in (run.folder, run.init) if folder and (folder / CLIP_FILES[1]).is_file()]
    return {**report, "clip": retrieval(folders[0])} if folders else report


def export(run: Run, weights: Path) -> None:
    """Write the weights that the pack ships."""
    metadata = metadata_of(run)
    save_tiny(bundle_of(run, load_trio(run)), weights, metadata=metadata)
    model_files = [run.folder / name for name in CLIP_FILES]
    if all(file.is_file() for file in model_files):
        save_file(load_file(model_files[1]), weights / CLIP_FILES[1], {"format": "pt", **metadata})
        write_config(weights)
    draw_curve(read_log(run.folder / "log.jsonl"), run.folder / "curve.png")


def run_stages(run: Run, stages: Sequence[str], weights: Path | None = None) -> None:
    """Run stages in order; `weights` is where the export goes, by default a folder of the run."""
    check_folder(run)
    for stage in stages:
        logger.info("stage %s", stage)
        if stage == "export":
            export(run, weights or run.folder / "weights")
        elif stage == "evaluate":
            run.log(stage="evaluate", step=-1, **judge(run))
        else:
            TRAINING[stage](run)


TRAINING = {
    "codec": train_stage_codec,
    "latents": train_stage_latents,
    "dit": train_stage_dit,
    "decoder": train_stage_decoder,
    "clip": train_stage_clip,
}
STAGES = (*TRAINING, "evaluate", "export")
