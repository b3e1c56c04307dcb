"""Evaluates the embedded model by what it generates: whether it keeps a scene and follows a new prompt.

Everything runs through the pack's own sampler at distilled guidance 10 and real guidance 1, and is measured by
the analytic detector on decoded frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....models.plain import PlainModel
from ....samplers.conditioning import Prompt, TextConditioning
from ....samplers.context.plan import plan_sections
from ....samplers.denoising.drivers import PlainDriver
from ....samplers.denoising.sections import sample_sections
from ....samplers.settings import SampleInputs, SampleSettings
from ....samplers.techniques.base import Technique
from ....samplers.techniques.presets import PRESETS
from ....samplers.techniques.wiring import with_technique
from ... import world
from ...bundle import TinyBundle
from ...detector import agrees, detect, jump, matches
from ..data.batches import tokenized
from ..data.clips import to_input
from .episodes import FIRST_SEED, Episode, episodes, parts, starts

EVENTS = ("disappear", "appear", "colour", "background", "night", "cut")
LAST_FRAMES = 8


@dataclass(frozen=True)
class Settings:
    """How episodes are sampled."""

    window: int = 9
    steps: int = 12
    solver: str = "unipc_bh1"


def shows(frames: np.ndarray, scene: world.Scene) -> bool:
    """Whether most of the last frames of [T,64,64,3] show a scene: place, time and subject."""
    return matches(detect(frames[-LAST_FRAMES:]), scene)


@torch.no_grad()
def conditioning(bundle: TinyBundle, prompts: Sequence[str], device: torch.device) -> TextConditioning:
    """Prompts as one batch of text."""
    tokens, mask = tokenized(list(prompts))
    states, pooled = bundle.clip.encoder(tokens.to(device), mask.to(device))
    return TextConditioning(states.float().cpu(), pooled.float().cpu(), None if mask.all() else mask)


@torch.no_grad()
def generate(
    bundle: TinyBundle,
    part: Sequence[Episode],
    prompts: Sequence[Sequence[str]],
    *,
    settings: Settings,
    start: np.ndarray | None = None,
    past: Tensor | None = None,
    remedies: tuple[Technique, ...] = (),
) -> Tensor:
    """Latents [B,16,T,8,8] of a part of the episodes, from start images uint8 [B,64,64,3] or from nothing.

    prompts[section][episode] are the texts. After `past`, a video that was generated before, the first of
    these sections is the one of the switch, where `remedies` act.
    """
    device = next(bundle.dit.parameters()).device
    latent, image = torch.zeros(len(part), 16, 1, 8, 8), None
    if start is not None:
        latent = encoded(bundle, start[:, None])
        image = bundle.clip_vision.encode_image(
            torch.from_numpy(start).float() / 255, crop=False
        ).last_hidden_state
    done = 0 if past is None else (past.shape[2] - 1) // settings.window
    planned = plan_sections("f1", done + len(prompts), settings.window, keeps_start=start is not None)[done:]
    texts = [
        Prompt(start=float(i), text=words[0], conditioning=conditioning(bundle, words, device))
        for i, words in enumerate(prompts)
    ]
    sections = [
        section.with_prompt(text, change=1.0, since_switch=i if done else None)
        for i, (section, text) in enumerate(zip(planned, texts))
    ]
    if done:
        sections[0] = replace(sections[0], previous=texts[0])
    negative = conditioning(bundle, [""] * len(part), device)
    before = None if past is None else past[:, :, 1:]
    inputs = SampleInputs(
        start=latent,
        has_start=start is not None,
        negative=negative,
        image_embeds=image,
        earlier_sections=before,
    )
    sampling = SampleSettings(window=settings.window, steps=settings.steps, seeds=tuple(e.seed for e in part))
    model = PlainModel(bundle.dit, bundle.latent_scale)
    for remedy in remedies:
        model = with_technique(model, remedy)
    # Half the time on a CPU, and no difference that the detector sees.
    with torch.autocast(device.type, dtype=torch.bfloat16):
        return sample_sections(PlainDriver(model), sections, inputs, sampling, solver=settings.solver)[0]


@torch.no_grad()
def encoded(bundle: TinyBundle, frames: np.ndarray) -> Tensor:
    """Latents [B,16,L,8,8] in the scale of sampling of frames uint8 [B,T,64,64,3]."""
    video = to_input(torch.from_numpy(frames)).to(next(bundle.dit.parameters()).device)
    return bundle.vae.codec.encode(video).float().cpu() * bundle.latent_scale


@torch.no_grad()
def decoded(bundle: TinyBundle, latents: Tensor) -> np.ndarray:
    """Frames 0..1 [B,T,64,64,3] of latents in the scale of sampling."""
    video = bundle.vae.codec.decode((latents / bundle.latent_scale).to(next(bundle.dit.parameters()).device))
    return ((video.float().cpu() + 1) / 2).clamp(0, 1).movedim(1, -1).numpy()


def ends(bundle: TinyBundle, latents: Tensor) -> np.ndarray:
    """The last frames of videos; the codec looks back one latent a layer, so a few latents give them."""
    return decoded(bundle, latents[:, :, -(2 + bundle.vae.codec.past_latents + LAST_FRAMES // 4) :])


def survival(bundle: TinyBundle, count: int, settings: Settings, sections: int = 3) -> dict[str, float]:
    """Share of scenes that are still right at the end of each section when nothing is asked to change."""
    right = np.zeros((0, sections))
    for part in parts(episodes("none", count, window=settings.window, sections=sections)):
        prompts = [[episode.prompts[s] for episode in part] for s in range(sections)]
        latents = generate(bundle, part, prompts, settings=settings, start=starts(part))
        videos = [ends(bundle, latents[:, :, : 1 + settings.window * (s + 1)]) for s in range(sections)]
        right = np.concatenate([right, [[shows(v[i], e.old) for v in videos] for i, e in enumerate(part)]])
    return {f"section_{s + 1}": float(share) for s, share in enumerate(right.mean(0))}


def switches(
    bundle: TinyBundle,
    *,
    event: str,
    count: int,
    settings: Settings,
    trials: Mapping[str, tuple[Technique, ...]],
) -> dict[str, Counter[str]]:
    """What becomes of a switch at the second section under each trial's remedies.

    Only episodes that are right before it are counted: success is the new scene at the section's end, stayed
    the old one.
    """
    found: dict[str, Counter[str]] = {name: Counter() for name in trials}
    for part in parts(episodes(event, count, window=settings.window, sections=2)):
        past = generate(bundle, part, [[e.prompts[0] for e in part]], settings=settings, start=starts(part))
        valid = [shows(frames, e.old) for frames, e in zip(ends(bundle, past), part)]
        for name, remedies in trials.items():
            prompts = [[e.prompts[1] for e in part]]
            latents = generate(
                bundle, part, prompts, settings=settings, start=starts(part), past=past, remedies=remedies
            )
            counted = [(frames, e) for frames, e, ok in zip(ends(bundle, latents), part, valid) if ok]
            found[name].update(
                valid=len(counted),
                success=sum(shows(f, e.new) for f, e in counted),
                stayed=sum(shows(f, e.old) for f, e in counted),
            )
    return found


def understands(bundle: TinyBundle, *, event: str, count: int, settings: Settings, history: str) -> int:
    """Successes of one section of the new scene; `history` "zero" is text alone, "new" a section of that scene itself."""
    hits, shown = 0, 1 + 4 * settings.window
    for part in parts(episodes(event, count, window=settings.window)):
        start = past = None
        if history == "new":
            videos = np.stack([e.after[:shown] for e in part])
            start, past = videos[:, 0], encoded(bundle, videos)
        prompts = [[e.prompts[2 if history == "new" else 1] for e in part]]
        latents = generate(bundle, part, prompts, settings=settings, start=start, past=past)
        hits += sum(shows(frames, e.new) for frames, e in zip(ends(bundle, latents), part))
    return hits


def shams(
    bundle: TinyBundle, count: int, settings: Settings, trials: Mapping[str, tuple[Technique, ...]]
) -> dict[str, Any]:
    """What it costs when the same prompt is entered anew: share of scenes that stay right, and the subject's jump.

    Only scenes that are right before it are counted; `jump` is the mean in px over those whose subject is seen on
    both sides in every trial, between the last frame before and the first one after.
    """
    kept, valid = dict.fromkeys(trials, 0), 0
    jumps: dict[str, list[float]] = {name: [] for name in trials}
    for part in parts(episodes("none", count, window=settings.window, sections=2)):
        prompts = [[e.prompts[0] for e in part]]
        past = generate(bundle, part, prompts, settings=settings, start=starts(part))
        right = [shows(frames, e.old) for frames, e in zip(ends(bundle, past), part)]
        valid += sum(right)
        for name, remedies in trials.items():
            latents = generate(
                bundle, part, prompts, settings=settings, start=starts(part), past=past, remedies=remedies
            )
            seen = [detect(video) for video in decoded(bundle, latents)]
            kept[name] += sum(matches(d[-LAST_FRAMES:], e.old) for d, e, ok in zip(seen, part, right) if ok)
            jumps[name] += [jump(d, 1 + 4 * settings.window) for d, ok in zip(seen, right) if ok]
    both = np.isfinite(list(jumps.values())).all(0)
    return {
        "valid": valid,
        **{
            name: {"success": kept[name] / max(valid, 1), "jump": float(np.mean(np.array(jumps[name])[both]))}
            for name in trials
        },
    }


def codec_reading(bundle: TinyBundle, clips: int = 60) -> float:
    """Share of frames of unseen clips with a cut that the detector reads rightly through the codec."""
    right = []
    for seed in range(FIRST_SEED, FIRST_SEED + clips):
        clip = world.make_clip(seed, 21, "cut", 9)
        frames = decoded(bundle, encoded(bundle, clip.frames[None]))[0]
        right += [
            agrees(detect(frames[first:last]), scene) for (first, scene), last in zip(clip.scenes, (9, 21))
        ]
    return float(np.concatenate(right).mean())


TRIALS: dict[str, tuple[Technique, ...]] = {"plain": (), "remedy": PRESETS["balanced"]}


def evaluate(
    bundle: TinyBundle,
    count: int = 32,
    settings: Settings | None = None,
    trials: Mapping[str, tuple[Technique, ...]] = TRIALS,
) -> dict[str, Any]:
    """All figures of what is generated, `count` episodes an event type; the remedy is the preset `balanced`, early real guidance and a gate."""
    settings = settings or Settings()
    report: dict[str, Any] = {"episodes": count, "survival": survival(bundle, count, settings)}
    for history in ("zero", "new"):
        hits = {
            event: understands(bundle, event=event, count=count, settings=settings, history=history)
            for event in EVENTS
        }
        report[history] = {"success": sum(hits.values()) / (count * len(EVENTS)), "by_event": hits}
    by_event = {
        event: switches(bundle, event=event, count=count, settings=settings, trials=trials)
        for event in EVENTS
    }
    for name in trials:
        total = sum((found[name] for found in by_event.values()), Counter())
        report[name] = {
            "valid": total["valid"],
            "success": total["success"] / max(total["valid"], 1),
            "stayed": total["stayed"] / max(total["valid"], 1),
            "by_event": {event: dict(found[name]) for event, found in by_event.items()},
        }
    return {**report, "sham": shams(bundle, count, settings, trials)}
