"""What each stage of a run does; each leaves a file in the run's folder and is skipped when it is there."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ..bundle import TinyBundle, fixed_seed, load_tiny
from ..networks.codec import TinyCodec
from ..wrappers import TinyClip, TinyVAE, TinyVision
from . import state
from .clip import save_clip, train_clip
from .clock import Stopwatch
from .codec import draw_frames, psnr, train_codec, train_decoder
from .data.batches import Batches
from .data.specs import specs
from .data.store import load_store, make_store, save_store
from .judging.evaluate import QUICK, evaluate
from .judging.sampling import Settings
from .learning.quick import quick_blocks
from .learning.transformer import train_transformer
from .learning.trio import Trio
from .state import Run, metadata_in

CLIP_FILES = ("tiny-clip.json", "clip.safetensors")


def train_stage_codec(run: Run, watch: Stopwatch) -> None:
    """Draw frames and train the codec on them."""
    file = run.folder / "codec.safetensors"
    if file.is_file():
        return
    if run.init is not None:
        run.log(stage="init", **metadata_in(run.init, run.init_layout))
        state.save(
            file, load_tiny(weights=run.init, layout=run.init_layout).vae.codec.float().state_dict(), {}
        )
        return
    recipe = run.recipe
    frames = _codec_frames(run, recipe.seed, watch)
    with fixed_seed(recipe.seed):
        codec = TinyCodec()
    _learn("codec", train_codec, codec, run=run, frames=frames, steps=recipe.codec_steps, watch=watch)
    state.save(file, codec.state_dict(), {})


def train_stage_decoder(run: Run, watch: Stopwatch) -> None:
    """Go on with the codec's decoder, on new frames."""
    file = run.folder / "decoder.safetensors"
    if file.is_file():
        return
    recipe, codec = run.recipe, load_codec(run)
    frames = _codec_frames(run, recipe.seed + 1, watch)
    _learn("decoder", train_decoder, codec, run=run, frames=frames, steps=recipe.decoder_steps, watch=watch)
    state.save(file, codec.decoder.state_dict(), {})


def load_codec(run: Run) -> TinyCodec:
    """The run's trained codec, with the better decoder if there is one yet."""
    codec, better = TinyCodec(), run.folder / "decoder.safetensors"
    codec.load_state_dict(state.load(run.folder / "codec.safetensors")[0])
    if better.is_file():
        codec.decoder.load_state_dict(state.load(better)[0])
    return codec.to(run.device).eval().requires_grad_(False)


def train_stage_latents(run: Run, watch: Stopwatch) -> None:
    """Draw the clips and encode them."""
    file = run.folder / "latents.safetensors"
    if file.is_file():
        return
    recipe = run.recipe
    store = make_store(
        load_codec(run),
        specs(recipe.clips, recipe.mix, recipe.seed, recipe.scale),
        run.device,
        end_images=recipe.layout == "original",
        seconds=watch.left,
        progress=run.progress,
    )
    run.log(stage="latents", clips=len(store.specs), seconds=round(watch.seconds, 1))
    save_store(store, file)


def _learn(
    stage: str,
    train: Callable[..., None],
    codec: TinyCodec,
    *,
    run: Run,
    frames: torch.Tensor,
    steps: int,
    watch: Stopwatch,
) -> None:
    """Train the codec, or its decoder, by the run's recipe, and log how well it does."""
    train(
        codec,
        frames=frames,
        steps=steps,
        rate=run.recipe.codec_rate,
        seed=run.recipe.seed,
        device=run.device,
        log=run.log,
        progress=run.progress,
        watch=watch,
    )
    run.log(stage=stage, psnr=round(psnr(codec, frames[:100], run.device), 2))


def _codec_frames(run: Run, seed: int, watch: Stopwatch) -> torch.Tensor:
    """The short clips that the codec learns from, as many as can be drawn in a third of the time."""
    recipe = run.recipe
    return draw_frames(
        recipe.codec_clips, seed, scale=recipe.scale, pairs=recipe.mix.pairs, seconds=watch.left / 3
    )


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


def settings_of(run: Run, *, bfloat16: bool = True) -> Settings:
    """How a run's episodes are sampled."""
    return Settings(layout=run.recipe.layout, scale=run.recipe.scale, bfloat16=bfloat16)


class PeriodicEvaluation:
    """Evaluates the average now and then during training, and logs what it finds."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.last = time.monotonic()

    def __call__(self, trio: Trio, step: int) -> None:
        if time.monotonic() - self.last < 60 * self.run.evaluate_minutes:
            return
        bundle = bundle_of(self.run, trio)
        report = evaluate(
            bundle, self.run.evaluate_episodes, settings_of(self.run), {"plain": ()}, questions=QUICK
        )
        self.run.log(stage="evaluate", step=step, **report)
        self.last = time.monotonic()


def train_stage_dit(run: Run, watch: Stopwatch) -> None:
    """Train transformer, text encoder and vision tower."""
    file = run.folder / "trio.safetensors"
    if file.is_file():
        return
    recipe = run.recipe
    if not recipe.encoders and run.init is None:
        raise ValueError(
            f"The transformer of the {recipe.layout} layout learns alone, beside encoders that are there: give the weights of an "
            "F1 run with --init."
        )
    store = load_store(run.folder / "latents.safetensors", run.device)
    batches = Batches(store, recipe.mix, recipe.batch, recipe.seed, layout=recipe.layout)
    init = None if run.init is None else trio_of(load_tiny(weights=run.init, layout=run.init_layout))
    with quick_blocks(run.device):
        trio = train_transformer(
            recipe,
            batches,
            folder=run.folder,
            device=run.device,
            log=run.log,
            minutes=run.minutes,
            seconds_left=watch.left,
            progress=run.progress,
            on_checkpoint=PeriodicEvaluation(run),
            init=init,
            compiled=run.compiled,
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


def train_stage_clip(run: Run, watch: Stopwatch) -> None:
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
        scale=recipe.scale,
        init=run.init and run.init / CLIP_FILES[1],
        watch=watch,
    )
    save_clip(model, file, {})
