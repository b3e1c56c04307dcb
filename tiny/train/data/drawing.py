"""Draw the training clips on all cores. Imports no torch: the processes that draw are to start at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ... import world
from .specs import SWITCHES, ClipSpec
from .texts import Texts, texts_of

CELL = 8  # px of a latent's side
FEW = 64  # items are not worth the start of processes
AHEAD = 4  # clips of each process that may wait to be fetched
MOST_PROCESSES = 61  # that Windows can wait for

Array = NDArray[Any]
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnClip:
    """Frames uint8 [T,H,W,3] of a clip, the cells bool [L,h,w] of latents that a subject passes through, and its texts."""

    frames: Array
    subjects: Array
    texts: list[Texts]


def cores() -> int:
    """How many processes may run at once."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


def in_workers(function: Callable[[Item], Made], items: Sequence[Item]) -> Iterator[Made]:
    """Map over the machine's cores, in order, with a few results waiting at most."""
    if len(items) < FEW or cores() == 1:
        yield from map(function, items)
        return
    count = min(cores(), MOST_PROCESSES)
    # Forked processes would inherit torch's threads in an unknown state.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def drawn_clips(chosen: Sequence[ClipSpec]) -> Iterator[DrawnClip]:
    """Draw clips in their order. Frames travel by files, which is several times faster than by pipes."""
    with TemporaryDirectory(prefix="clips-", ignore_cleanup_errors=True) as folder:
        jobs = [(spec, Path(folder) / f"{number}.npy") for number, spec in enumerate(chosen)]
        for file, subjects, texts in in_workers(_draw_to_file, jobs):
            frames = np.load(file)
            file.unlink()
            yield DrawnClip(frames=frames, subjects=subjects, texts=texts)


def _draw_to_file(job: tuple[ClipSpec, Path]) -> tuple[Path, Array, list[Texts]]:
    spec, file = job
    clip = spec.draw()
    np.save(file, clip.frames)
    return file, subject_cells(clip, spec.scale), texts_of(spec, clip)


def subject_cells(clip: world.Clip, scale: int = 1) -> Array:
    """Cells bool [L,8 scale,8 scale] of the latent frames that a subject's box touches in any frame they stand for."""
    cells = scale * world.SIZE // CELL
    low, high = (np.arange(cells) + edge for edge in (0, 1))
    left, top, right, bottom = np.moveaxis(clip.boxes * scale / CELL, -1, 0)[..., None]
    with np.errstate(invalid="ignore"):
        across, down = ((low < end) & (high > start) for start, end in ((left, right), (top, bottom)))
    touched = (down[..., :, None] & across[..., None, :]).any(0)
    # The first latent stands for one frame, every other one for four.
    firsts = np.concatenate([[0], np.arange(1, len(touched), 4)])
    merged: Array = np.logical_or.reduceat(touched, firsts, axis=0)
    return merged


def short_clip(job: tuple[int, int, float]) -> Array:
    """Nine frames uint8 for the codec, of a seed, a scale and a share of pairs; an event among them half the time."""
    seed, scale, pairs = job
    rng = np.random.default_rng([seed, 3])
    event = SWITCHES[rng.integers(len(SWITCHES))] if rng.random() < 0.5 else "none"
    switch = None if event == "none" else int(rng.integers(1, 9))
    return world.make_clip(seed, 9, event, switch, pair=bool(rng.random() < pairs), scale=scale).frames
