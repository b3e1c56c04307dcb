"""Judge the embedded model by what it generates: does it keep a scene, does it follow a new prompt?

Everything runs through the pack's own sampler at distilled guidance 10 and real guidance 1, and is judged by
the analytic detector on decoded frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....samplers.conditioning import TextConditioning
from ....samplers.drivers import PlainDriver
from ....samplers.guidance import Guidance
from ....samplers.plan import plan_sections
from ....samplers.sample import SampleInputs, SampleSettings, sample_sections
from ....samplers.timeline import Prompt
from ...attention import sdpa_attention
from ...plain import PlainModel
from .. import world
from ..bundle import TinyBundle
from ..detector import detect, matches
from .batches import tokenized
from .clips import to_input

FIRST_SEED = 10**9  # training uses smaller ones
EVENTS = ("disappear", "appear", "colour", "background", "night", "cut")
JUDGED_FRAMES = 8
BATCH = 16
CONTEXT_SEGMENTS = ("4x", "2x", "start", "last", "image")


@dataclass(frozen=True)
class Settings:
    """How episodes are sampled."""

    window: int = 9
    steps: int = 12
    solver: str = "unipc_bh1"
    guidance: Guidance = Guidance()
    gate: float = 0.0
    gate_above: float = 0.7


@dataclass(frozen=True)
class Episode:
    """A clip with its event at the beginning of its second section, as far as the model is shown it."""

    seed: int
    event: str
    first: np.ndarray
    after: np.ndarray
    prompts: tuple[str, ...]
    old: world.Scene
    new: world.Scene


def episodes(event: str, count: int, window: int, first_seed: int = FIRST_SEED, sections: int = 3) -> list[Episode]:
    """Fresh episodes with a subject at their beginning, unless one is to appear."""
    found, frames = [], 1 + 4 * window * sections
    for seed in range(first_seed, first_seed + count):
        switch = None if event == "none" else 1 + 4 * window
        fixed = {"empty": False} if event in ("none", "background", "night", "cut") else {}
        clip = world.make_clip(seed, frames, event, switch, **fixed)
        shown = clip.frames[switch if switch else 0]
        prompts = tuple(world.prompt_of(clip.scene_at(1 + 4 * window * s)) for s in range(sections))
        found.append(Episode(seed, event, clip.frames[0], shown, prompts, clip.scenes[0][1], clip.scenes[-1][1]))
    return found


def shows(frames: np.ndarray, scene: world.Scene) -> bool:
    """Whether most of the last frames of [T,64,64,3] show a scene: place, time and subject."""
    return matches(detect(frames[-JUDGED_FRAMES:]), scene)


@torch.no_grad()
def conditioning(bundle: TinyBundle, prompts: Sequence[str], device: torch.device) -> TextConditioning:
    """Prompts as one batch of text."""
    tokens, mask = tokenized(list(prompts))
    states, pooled = bundle.clip.encoder(tokens.to(device), mask.to(device))
    return TextConditioning(states.float().cpu(), pooled.float().cpu(), None if mask.all() else mask)


@torch.no_grad()
def generate(
    bundle: TinyBundle, start: np.ndarray | None, prompts: Sequence[Sequence[str]], settings: Settings,
    seed: int = 0,
) -> np.ndarray:
    """Frames 0..1 [B,T,64,64,3] of videos that begin with start images uint8 [B,64,64,3], or with nothing.

    prompts[section][example] are their texts.
    """
    device = next(bundle.dit.parameters()).device
    batch, count = len(prompts[0]), len(prompts)
    latent, image = torch.zeros(batch, 16, 1, 8, 8), None
    if start is not None:
        images = torch.from_numpy(start)
        latent = bundle.vae.codec.encode(to_input(images[:, None]).to(device)).float().cpu() * bundle.latent_scale
        image = bundle.clip_vision.encode_image(images.float() / 255, crop=False).last_hidden_state
    inputs = SampleInputs(latent, start is not None, conditioning(bundle, [""] * batch, device), image)
    sections = [
        replace(section, prompt=Prompt(float(i), prompts[i][0], conditioning(bundle, prompts[i], device)))
        for i, section in enumerate(plan_sections("f1", count, settings.window, keeps_start=start is not None))
    ]
    driver = PlainDriver(PlainModel(bundle.dit, bundle.latent_scale))
    sampling = SampleSettings(window=settings.window, steps=settings.steps, guidance=settings.guidance, seed=seed)
    with gated(bundle, settings.gate, settings.gate_above):
        with torch.autocast(device.type, dtype=torch.bfloat16):
            latents, _ = sample_sections(driver, sections, inputs, sampling, solver=settings.solver)
    video = bundle.vae.codec.decode((latents / bundle.latent_scale).to(device))
    return ((video.float().cpu() + 1) / 2).clamp(0, 1).movedim(1, -1).numpy()


@contextmanager
def gated(bundle: TinyBundle, bias: float, above: float) -> Iterator[None]:
    """Add `bias` to what the window gives to the packed past while sigma is larger than `above`."""
    dit = bundle.dit
    if not bias:
        yield
        return

    def biased(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, segments: Any, rows: Any, **_: Any) -> Tensor:
        weights = torch.zeros(1, 1, q.shape[2], k.shape[2], dtype=q.dtype, device=q.device)
        asking = slice(None) if rows is not None else segments.slice("noisy")
        for name, place in segments.items():
            if name in CONTEXT_SEGMENTS:
                weights[:, :, asking, place] = bias
        if mask is not None:
            weights = weights.masked_fill(~mask, float("-inf"))
        return sdpa_attention(q, k, v, mask=weights)

    plain = dit.attention

    def choose(module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        module.attention = biased if args[1][0] > 1000 * above else plain

    hook = dit.register_forward_pre_hook(choose, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
        dit.attention = plain


def in_parts(chosen: Sequence[Episode], make: Callable[[Sequence[Episode]], np.ndarray]) -> np.ndarray:
    """Frames of all episodes, a batch at a time."""
    return np.concatenate([make(chosen[first:first + BATCH]) for first in range(0, len(chosen), BATCH)])


def section_end(section: int, window: int) -> slice:
    """The frames up to the end of a section of a video that has a start image."""
    return slice(0, 1 + 4 * window * (section + 1))


def survival(bundle: TinyBundle, count: int, settings: Settings, sections: int = 3) -> dict[str, float]:
    """Share of scenes that are still right at the end of each section when nothing is asked to change."""
    chosen = episodes("none", count, settings.window, sections=sections)

    def make(part: Sequence[Episode]) -> np.ndarray:
        prompts = [[episode.prompts[s] for episode in part] for s in range(sections)]
        return generate(bundle, np.stack([e.first for e in part]), prompts, settings, part[0].seed)

    videos = in_parts(chosen, make)
    return {f"section_{s + 1}": float(np.mean([
        shows(video[section_end(s, settings.window)], episode.old) for video, episode in zip(videos, chosen)
    ])) for s in range(sections)}


def switch_success(bundle: TinyBundle, event: str, count: int, settings: Settings) -> dict[str, Any]:
    """What becomes of a switch at the second section; only episodes that are right before it are judged."""
    chosen = episodes(event, count, settings.window, sections=2)

    def make(part: Sequence[Episode]) -> np.ndarray:
        prompts = [[episode.prompts[s] for episode in part] for s in range(2)]
        return generate(bundle, np.stack([e.first for e in part]), prompts, settings, part[0].seed)

    videos = in_parts(chosen, make)
    valid = [shows(video[section_end(0, settings.window)], e.old) for video, e in zip(videos, chosen)]
    success = [shows(video, e.new) for video, e, ok in zip(videos, chosen, valid) if ok]
    stayed = [shows(video, e.old) for video, e, ok in zip(videos, chosen, valid) if ok]
    return {"valid": sum(valid), "success": sum(success), "stayed": sum(stayed)}


def understands(bundle: TinyBundle, event: str, count: int, settings: Settings, history: str) -> int:
    """Successes of one section of the new scene: `history` "zero" is text alone, "new" shows the new scene."""
    chosen = episodes(event, count, settings.window, sections=2)

    def make(part: Sequence[Episode]) -> np.ndarray:
        start = np.stack([e.after for e in part]) if history == "new" else None
        return generate(bundle, start, [[e.prompts[1] for e in part]], settings, part[0].seed)

    return sum(shows(video, e.new) for video, e in zip(in_parts(chosen, make), chosen))


REMEDY = {"guidance": Guidance(cfg=5.0), "gate": -2.0}


def evaluate(bundle: TinyBundle, count: int = 32, settings: Settings | None = None, remedy: bool = True) -> dict[str, Any]:
    """All figures, with `count` episodes an event type."""
    settings = settings or Settings()
    report: dict[str, Any] = {"episodes": count, "survival": survival(bundle, count, settings)}
    for history in ("zero", "new"):
        hits = {event: understands(bundle, event, count, settings, history) for event in EVENTS}
        report[history] = {"success": sum(hits.values()) / (count * len(EVENTS)), "by_event": hits}
    trials = {"plain": settings} | ({"remedy": replace(settings, **REMEDY)} if remedy else {})
    for name, trial in trials.items():
        results = {event: switch_success(bundle, event, count, trial) for event in EVENTS}
        valid = sum(r["valid"] for r in results.values())
        report[name] = {
            "valid": valid,
            "success": sum(r["success"] for r in results.values()) / max(valid, 1),
            "stayed": sum(r["stayed"] for r in results.values()) / max(valid, 1),
            "by_event": results,
        }
    return report
