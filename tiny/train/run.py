"""The stages of a run, in order; each leaves a file in the run's folder and is skipped when it is there."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..bundle import TinyBundle, fixed_seed, load_tiny, save_tiny
from ..networks.codec import TinyCodec
from ..wrappers import TinyClip, TinyVAE, TinyVision
from . import state
from .clip import retrieval, save_clip, train_clip, write_config
from .codec import draw_frames, psnr, train_codec, train_decoder
from .curve import draw_curve, read_log
from .data.batches import Batches
from .data.clips import ClipLatents, load_latents, make_latents, save_latents
from .judging.evaluate import codec_reading, evaluate
from .learning.quick import quick_blocks
from .learning.transformer import Trio, train_transformer
from .state import Run, check_folder, metadata_in, metadata_of

logger = logging.getLogger(__name__)

CLIP_FILES = ("tiny-clip.json", "clip.safetensors")


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
        frames=frames,
        steps=recipe.codec_steps,
        rate=recipe.codec_rate,
        seed=recipe.seed,
        device=run.device,
        log=run.log,
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
        codec,
        frames=frames,
        steps=recipe.decoder_steps,
        rate=recipe.codec_rate,
        seed=recipe.seed,
        device=run.device,
        log=run.log,
        progress=run.progress,
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
                load_codec(run),
                count=recipe.clips,
                window_5=recipe.mix.window_5,
                seed=recipe.seed,
                device=run.device,
                progress=run.progress,
            ),
            file,
        )


def run_latents(run: Run) -> ClipLatents:
    """The run's clips."""
    return load_latents(run.folder / "latents.safetensors")


def bundle_of(run: Run, trio: Trio) -> TinyBundle:
    """The embedded model as the pack loads it, of the run's codec and a Trio's weights."""
    trio = trio.eval().requires_grad_(False)
    return TinyBundle(
        dit=trio.dit,
        clip=TinyClip(trio.text),
        vae=TinyVAE(load_codec(run)),
        clip_vision=TinyVision(trio.vision),
        trained=True,
    )


class PeriodicEvaluation:
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
            recipe,
            batches,
            folder=run.folder,
            device=run.device,
            log=run.log,
            minutes=run.minutes,
            progress=run.progress,
            on_checkpoint=PeriodicEvaluation(run),
            init=init,
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
        folder=run.folder,
        steps=recipe.clip_steps,
        seed=recipe.seed,
        device=run.device,
        log=run.log,
        progress=run.progress,
        init=run.init and run.init / CLIP_FILES[1],
    )
    save_clip(model, file, {})


def evaluated_bundle(run: Run) -> TinyBundle:
    """What the stage evaluate measures: the run's own Trio, or the weights it would begin from while there is none."""
    if run.init is not None and not (run.folder / "trio.safetensors").is_file():
        return load_tiny(weights=run.init)
    return bundle_of(run, load_trio(run))


def full_evaluation(run: Run) -> dict[str, Any]:
    """All figures of docs/lab/TINY-LOG.md."""
    bundle = evaluated_bundle(run)
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
            run.log(stage="evaluate", step=-1, **full_evaluation(run))
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
