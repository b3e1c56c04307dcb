"""The training clips: which they are, their frames, and their latents with the prompts of every section."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from ... import world
from ...networks.codec import TinyCodec, latents_of_frames
from .. import state

logger = logging.getLogger(__name__)

SECTIONS = {9: 4, 5: 6}
QUIET_SHARE = 0.25
PHRASINGS = 4
CELL = 8  # px of a latent's side
# Cuts change everything and are rarer in the world; a change of motion has no place in the still picture.
SWITCHES = ("disappear", "appear", "colour", "background", "night", "cut", "motion")


@dataclass(frozen=True)
class ClipSpec:
    """A clip by its seed: SECTIONS windows after the first frame, `event` where section `switch` begins."""

    seed: int
    window: int
    event: str
    switch: int

    @property
    def frames(self) -> int:
        """Frames of the clip."""
        return 1 + 4 * self.window * SECTIONS[self.window]

    @property
    def switch_frame(self) -> int | None:
        """The first frame after the event."""
        return None if self.event == "none" else 1 + 4 * self.window * self.switch

    def draw(self) -> world.Clip:
        """The clip's frames and truth."""
        return world.make_clip(self.seed, self.frames, self.event, self.switch_frame)


@dataclass(frozen=True)
class Texts:
    """What a section may be called: phrasings of its own scene, and of one that an event would make of it."""

    own: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipLatents:
    """Latents [N,16,L,8,8] in the scale of sampling, first frames uint8 [N,64,64,3], texts[clip][section].

    `subjects` bool [N,L,8,8] says which cells of a latent frame a subject passes through.
    """

    specs: list[ClipSpec]
    latents: Tensor
    subjects: Tensor
    first_frames: Tensor
    texts: list[list[Texts]]


def specs(count: int, window_5: float, seed: int) -> list[ClipSpec]:
    """The clips of a run; every clip's own seed lies far from those of evaluations, which start at 10**9."""
    rng = np.random.default_rng([seed, 1])
    chosen = []
    for index in range(count):
        window = 5 if rng.random() < window_5 else 9
        event = "none" if rng.random() < QUIET_SHARE else SWITCHES[rng.integers(len(SWITCHES))]
        chosen.append(ClipSpec(seed * 10**6 + index, window, event, int(rng.integers(1, SECTIONS[window]))))
    return chosen


def texts_of(spec: ClipSpec, clip: world.Clip) -> list[Texts]:
    """The texts of a clip's sections."""
    rng = np.random.default_rng([spec.seed, 2])
    starts = [1 + 4 * spec.window * section for section in range(SECTIONS[spec.window])]
    scenes = [clip.scene_at(start) for start in starts]

    def phrasings(scene: world.Scene) -> tuple[str, ...]:
        return tuple(world.prompt_of(scene, rng) for _ in range(PHRASINGS))

    return [Texts(phrasings(scene), phrasings(altered(scene, rng))) for scene in scenes]


def altered(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """A scene as one of the world's events would leave it."""
    other = world.random_scene(rng, empty=False)
    events: tuple[str, ...] = ("appear", "background", "night", "cut")
    if scene.subject is not None:
        events = tuple(event for event in SWITCHES if event != "appear")
    event = events[rng.integers(len(events))]
    if event == "disappear":
        return replace(scene, subject=None)
    if event in ("cut", "appear") and scene.subject is None:
        return other if event == "cut" else replace(other, background=scene.background, night=scene.night)
    while _same_in(event, scene, other):
        other = world.random_scene(rng, empty=False)
    changed = {
        "cut": other,
        "colour": recoloured(scene, other),
        "background": replace(scene, background=other.background),
        "night": replace(scene, night=not scene.night),
        "motion": replace(scene, motion=other.motion),
    }
    return changed[event]


def recoloured(scene: world.Scene, other: world.Scene) -> world.Scene:
    """A scene whose subject, if it has one, is of the colour of the other scene's."""
    if scene.subject is None or other.subject is None:
        return scene
    return replace(scene, subject=replace(scene.subject, colour=other.subject.colour))


def _same_in(event: str, scene: world.Scene, other: world.Scene) -> bool:
    """Whether taking what an event changes from `other` would change nothing."""
    return {
        "cut": scene.background == other.background,
        "colour": scene.subject is not None and recoloured(scene, other) == scene,
        "background": scene.background == other.background,
        "motion": scene.motion == other.motion,
    }.get(event, False)


def subject_cells(clip: world.Clip) -> np.ndarray:
    """Cells bool [L,8,8] of the latent frames that a subject's box touches in any frame they stand for."""
    cells = np.zeros((latents_of_frames(len(clip.frames)), 8, 8), dtype=bool)
    for frame in map(int, np.flatnonzero(clip.presence)):
        subject = clip.scene_at(frame).subject
        if subject is None:
            continue
        half = subject.pixels / 2
        low = np.clip((clip.positions[frame] - half) // CELL, 0, 7).astype(int)
        high = np.clip((clip.positions[frame] + half) // CELL, 0, 7).astype(int)
        cells[(frame + 3) // 4, low[1] : high[1] + 1, low[0] : high[0] + 1] = True
    return cells


def draw(spec: ClipSpec) -> tuple[np.ndarray, np.ndarray, list[Texts]]:
    """Frames uint8 [T,64,64,3], subject's cells and texts of a clip; runs in the workers."""
    clip = spec.draw()
    return clip.frames, subject_cells(clip), texts_of(spec, clip)


def short_clip(seed: int) -> np.ndarray:
    """Nine frames uint8 for the codec, an event among them half the time; runs in the workers."""
    rng = np.random.default_rng([seed, 3])
    event = SWITCHES[rng.integers(len(SWITCHES))] if rng.random() < 0.5 else "none"
    return world.make_clip(seed, 9, event, None if event == "none" else int(rng.integers(1, 9))).frames


def in_workers(function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
    """Map over the machine's cores, in order; a few items are not worth the start of workers."""
    if len(items) < 64:
        yield from map(function, items)
        return
    # Forked workers would inherit torch's threads in an unknown state.
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 8), mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items, chunksize=16)


def to_input(frames: Tensor) -> Tensor:
    """Frames uint8 [...,T,64,64,3] to the codec's [...,3,T,64,64] in -1..1."""
    return frames.movedim(-1, -4).float() / 127.5 - 1


@torch.no_grad()
def encode(
    codec: TinyCodec, chosen: list[ClipSpec], device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor, list[Texts]]]:
    """Latents fp16 [16,L,8,8] in the scale of sampling, subject's cells, first frame and texts of each clip."""
    for frames, cells, texts in in_workers(draw, chosen):
        video = torch.from_numpy(frames)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            latents = codec.encode(to_input(video)[None].to(device))[0]
        yield (latents.float() * codec.latent_scale).half().cpu(), torch.from_numpy(cells), video[0], texts


def make_latents(
    codec: TinyCodec, *, count: int, window_5: float, seed: int, device: torch.device, progress: bool = True
) -> ClipLatents:
    """Draw and encode the clips of a run; shorter ones are padded at their end with zeros, never read."""
    chosen = specs(count, window_5, seed)
    longest = latents_of_frames(max(spec.frames for spec in chosen))
    latents = torch.zeros(count, 16, longest, 8, 8, dtype=torch.float16)
    subjects = torch.zeros(count, longest, 8, 8, dtype=torch.bool)
    first_frames = torch.zeros(count, world.SIZE, world.SIZE, 3, dtype=torch.uint8)
    texts = []
    bar = tqdm(encode(codec, chosen, device), total=count, desc="latents", disable=not progress)
    for index, (encoded, cells, first, of_sections) in enumerate(bar):
        latents[index, :, : encoded.shape[1]] = encoded
        subjects[index, : len(cells)] = cells
        first_frames[index] = first
        texts.append(of_sections)
    return ClipLatents(
        specs=chosen, latents=latents, subjects=subjects, first_frames=first_frames, texts=texts
    )


def save_latents(data: ClipLatents, path: Path) -> None:
    """Keep latents in a file."""
    facts = {
        "specs": [asdict(spec) for spec in data.specs],
        "texts": [[asdict(texts) for texts in of_clip] for of_clip in data.texts],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"latents": data.latents, "subjects": data.subjects, "first_frames": data.first_frames}
    path.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
    # The file whose presence says that the stage is done comes last.
    state.save(path, tensors, {})


def load_latents(path: Path) -> ClipLatents:
    """Read what `save_latents` wrote."""
    tensors = load_file(path)
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    texts = [[Texts(tuple(t["own"]), tuple(t["new"])) for t in of_clip] for of_clip in facts["texts"]]
    return ClipLatents(
        specs=[ClipSpec(**spec) for spec in facts["specs"]],
        latents=tensors["latents"],
        subjects=tensors["subjects"],
        first_frames=tensors["first_frames"],
        texts=texts,
    )
