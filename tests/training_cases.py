"""Clips and caches for the tests of training data."""

from __future__ import annotations

from pathlib import Path

import torch
from framepack_transitions.training.dataset import Dataset, Example, kind_cache
from framepack_transitions.training.files import write_files
from framepack_transitions.training.making.building import examples_of, read_captions
from framepack_transitions.training.making.labelling import takes_of
from framepack_transitions.training.making.sections import section_caches
from framepack_transitions.training.musubi.latents import write_latents
from framepack_transitions.training.musubi.names import LatentName, text_file
from framepack_transitions.training.musubi.texts import TextCache, write_text
from framepack_transitions.video.writing import VideoWriter

CAPTION = "a red field [2.4s: a blue field]"


def write_clip(path: Path, frames: int, cut: int, fps: float = 30.0) -> None:
    """A clip of 32x32 that is red, and blue from frame `cut` on."""
    images = torch.zeros(frames, 32, 32, 3)
    images[:cut, ..., 0] = 1
    images[cut:, ..., 2] = 1
    with VideoWriter(path, fps) as writer:
        writer.write(images)


def drifting_latents(frames: int, cut: int, seed: int = 0) -> torch.Tensor:
    """Latents [1, 16, frames, 2, 2] that move a little from frame to frame, and jump at latent frame `cut`."""
    generator = torch.Generator().manual_seed(seed)
    steps = 0.02 * torch.randn(1, 16, frames, 2, 2, generator=generator)
    scene = torch.randn(2, 1, 16, 1, 2, 2, generator=generator)
    places = (torch.arange(frames) >= cut).long()
    return torch.cat([scene[place] for place in places], dim=2) + steps.cumsum(dim=2)


def make_dataset(root: Path, layout: str = "f1", window: int = 3) -> Dataset:
    """A dataset of one clip with a change at its third section, cached as musubi-tuner would, with encoded captions.

    The window of 3 makes a section of 12 frames; the caption's change at 1.2 s is frame 36, and the take begins at frame 11.
    """
    clip = "walk"
    spans = read_captions("a red field [1.2s: a blue field]", 61, window)
    (take,) = takes_of(spans, 61, layout, window)
    video = drifting_latents(1 + window * take.sections, cut=1 + 2 * window)
    examples = examples_of(clip, take)
    caches = section_caches(video, torch.ones(1, 4, 6), layout, window)
    dataset = Dataset(layout=layout, window=window, resolution=(32, 32), examples=examples)
    for example in examples:
        name = LatentName(item=example.name, size=(16, 16), frames=take.frames, section=example.section)
        write_latents(kind_cache(root, example.kind) / name.file(), caches[example.section], name)
        encode(root, example)
    write_files(dataset, root)
    return dataset


def encode(root: Path, example: Example, caption: str | None = None) -> None:
    """An encoded caption of 5 tokens."""
    text = TextCache(
        caption=example.caption if caption is None else caption,
        states=torch.ones(1, 5, 8),
        pooled=torch.ones(1, 3),
    )
    write_text(text_file(kind_cache(root, example.kind), example.name), text)
