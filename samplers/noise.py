"""The noise that sections start from, drawn on the CPU so that every device gets the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat

import torch
from torch import Tensor

from .settings import SampleSettings

# Far from the seeds of sections, which follow each other.
PREPARATION_SEED_STEP = 1_000_003


def section_noises(
    shape: Sequence[int], settings: SampleSettings, lengths: Iterable[int] | None = None
) -> Iterator[Tensor]:
    """Noise float32 of `shape` [B, 16, T, H, W] for section after section; see SampleSettings for the seeds.

    `lengths`, where they are given, stand in for T section by section.
    Raises ValueError when the seeds are not as many as the videos.
    """
    seeds = settings.seeds or (settings.seed,)
    if settings.seeds and len(seeds) != shape[0]:
        raise ValueError(
            f"{len(seeds)} seeds were given for a batch of {shape[0]} videos; give one for each, or none."
        )
    generators = [_generator(seed) for seed in seeds]
    for index, frames in enumerate(repeat(shape[2]) if lengths is None else lengths):
        size = (*shape[1:2], frames, *shape[3:])
        drawn = torch.cat([_drawn((shape[0] // len(seeds), *size), each) for each in generators])
        own = settings.section_seeds.get(index)
        yield drawn if own is None else _drawn((shape[0], *size), _generator(own))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def _drawn(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32)


def preparation_noises(shape: Sequence[int], settings: SampleSettings, index: int) -> Iterator[Tensor]:
    """Noise for techniques before section `index`, from seeds of its own: the sections' noise stays what it is."""
    if index in settings.section_seeds:
        settings = replace(settings, seed=settings.section_seeds[index], seeds=())
    seeds = settings.seeds or (settings.seed,)
    own = tuple((seed + PREPARATION_SEED_STEP * (index + 1)) % 2**63 for seed in seeds)
    plain = replace(settings, section_seeds={}, seed=own[0], seeds=own if settings.seeds else ())
    return section_noises(shape, plain)


def section_seed(settings: SampleSettings, index: int) -> int:
    """The seed for the stochastic solver of section `index`."""
    return settings.section_seeds.get(index, settings.seed + index) % 2**64
