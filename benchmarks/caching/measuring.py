"""Samples and measures episodes under the arms of the study, whole videos with the cache in every section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...samplers.context.plan import Section
from ...samplers.denoising.drivers import driver_for
from ...samplers.observer import SectionObserver
from ...tiny.detector import detect
from ..transition.episodes import Episode
from ..transition.measures import HALF_SECOND, is_valid, measure_episode
from ..transition.running.results import Line
from ..transition.running.sampling import EpisodeSampler
from .arms import CacheArm

Array = NDArray[Any]
# What PSNR is bounded by, so that equal pictures have one.
MOST_PSNR = 100.0


@dataclass(frozen=True, kw_only=True)
class CachedEpisode(Line):
    """What one episode has shown and cost under one arm.

    arm, case, seed: which episode.
    valid: whether the old scene was seen before the switch.
    calls: predictions that the model has computed in each section.
    success, latency, artefacts, jump: as in TransitionBench.
    psnr_before, psnr_after: of the frames before and after the switch, to the uncached video, in dB.
    key: what it is found by when a study goes on; empty where it was not kept for that.
    """

    arm: str
    case: str
    seed: int
    valid: bool
    calls: tuple[float, ...]
    success: bool
    latency: int | None
    artefacts: float
    jump: float | None
    psnr_before: float
    psnr_after: float
    key: str = ""


class CallCounter(SectionObserver):
    """Counts the predictions that a transformer computes, section by section, by how often its last block runs."""

    def __init__(self, dit: Any, batch: int) -> None:
        self.calls: list[float] = []
        self._block, self._batch, self._rows = dit.single_transformer_blocks[-1], batch, 0

    def section_done(self, section: Section, latents: Tensor, *, reused: bool = False) -> None:
        self.calls.append(self._rows / self._batch)
        self._rows = 0

    def _count(self, block: Any, arguments: Any, output: Tensor) -> None:
        self._rows += output.shape[0]

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts inside."""
        handle = self._block.register_forward_hook(self._count)
        try:
            yield
        finally:
            handle.remove()


def measure_batch(
    sampler: EpisodeSampler, model: Any, episodes: Sequence[Episode], arms: Sequence[CacheArm]
) -> Iterator[list[CachedEpisode]]:
    """Episodes of one case under each arm in turn, on a MODEL; the first arm is the uncached one."""
    expected: Array | None = None
    for arm in arms:
        driver = driver_for(arm.model(model))
        counter = CallCounter(model.model.diffusion_model, len(episodes))
        with counter.counting():
            frames, _ = sampler.sample_whole(episodes, driver, counter)
        expected = frames if expected is None else expected
        yield [
            _measured(sampler, arm, episode, frames=own, expected=uncached, calls=tuple(counter.calls))
            for episode, own, uncached in zip(episodes, frames, expected, strict=True)
        ]


def _measured(
    sampler: EpisodeSampler,
    arm: CacheArm,
    episode: Episode,
    *,
    frames: Array,
    expected: Array,
    calls: tuple[float, ...],
) -> CachedEpisode:
    settings = sampler.settings
    switch = settings.switch_frame
    past = detect(frames[:switch][-2 * HALF_SECOND :])
    shown = measure_episode(episode, past, frames[switch:], settings.section_frames)
    return CachedEpisode(
        arm=arm.name,
        case=episode.case,
        seed=episode.seed,
        valid=is_valid(past, episode),
        calls=calls,
        success=shown.success,
        latency=shown.latency,
        artefacts=shown.artefacts,
        jump=shown.jump,
        psnr_before=psnr(frames[:switch], expected[:switch]),
        psnr_after=psnr(frames[switch:], expected[switch:]),
    )


def psnr(frames: Array, expected: Array) -> float:
    """Of frames in 0..1, in dB."""
    error = float(np.square(frames - expected).mean())
    return MOST_PSNR if error == 0 else min(MOST_PSNR, -10 * float(np.log10(error)))
