"""The noise that sections start from, drawn on the CPU so that every device gets the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .settings import SampleSettings

# Far from the seeds of sections, which follow each other.
PREPARATION_SEED_STEP = 1_000_003


def section_noises(shape: Sequence[int], settings: SampleSettings) -> Iterator[Tensor]:
    """Noise float32 of `shape` [B, 16, T, H, W] for section after section; see SampleSettings for `seeds`.

    Raises ValueError when the seeds are not as many as the videos.
    """
    seeds = settings.seeds or (settings.seed,)
    if settings.seeds and len(seeds) != shape[0]:
        raise ValueError(
            f"{len(seeds)} seeds were given for a batch of {shape[0]} videos; give one for each, or none."
        )
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    part = (shape[0] // len(seeds), *shape[1:])
    while True:
        yield torch.cat(
            [torch.randn(part, generator=generator, dtype=torch.float32) for generator in generators]
        )


def preparation_noises(shape: Sequence[int], settings: SampleSettings, index: int) -> Iterator[Tensor]:
    """Noise for techniques before section `index`, from seeds of its own: the sections' noise stays what it is."""
    seeds = settings.seeds or (settings.seed,)
    own = tuple((seed + PREPARATION_SEED_STEP * (index + 1)) % 2**63 for seed in seeds)
    return section_noises(shape, replace(settings, seed=own[0], seeds=own if settings.seeds else ()))


def section_seed(settings: SampleSettings, index: int) -> int:
    """The seed for the stochastic solver of section `index`."""
    return (settings.seed + index) % 2**64
