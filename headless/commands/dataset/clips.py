"""Clips at 30 frames a second: which frames of a file those are, and parts of it as files of their own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ....samplers.context.plan import FPS
from ....video.writing import VideoWriter
from ...files.media import probe_video, uneven_times, video_batches

BATCH = 4  # frames at a time
QUALITY = 10  # of x264: what training sees has to be better than what people watch
ROUNDING = 1e-6  # seconds


@dataclass(frozen=True)
class Clip:
    """A video file; `frames` are the numbers of the file's frames that are shown at 30 frames a second."""

    path: Path
    frames: tuple[int, ...]


def open_clip(path: Path) -> Clip:
    """Looks at a video file. Raises ValueError where it is none, or does not say how fast it plays."""
    info = probe_video(path)
    if not info.fps > 0 or not info.frames:
        raise ValueError(
            f"the video {path.name} does not say how many frames a second it has; convert it first"
        )
    times = uneven_times(path) or [number / info.fps for number in range(info.frames)]
    return Clip(path, tuple(frames_shown(times, 1 / info.fps)))


def frames_shown(times: Sequence[float], last: float) -> list[int]:
    """The frames shown at 30 a second of a video whose frames appear at `times` in seconds, the last one for `last`."""
    starts = [time - times[0] for time in times]
    count = int((starts[-1] + last) * FPS + ROUNDING)
    return [bisect_right(starts, number / FPS + ROUNDING) - 1 for number in range(max(count, 1))]


def write_take(clip: Clip, target: Path, first: int, frames: int) -> None:
    """Writes a part of a clip as a video of 30 frames a second, whole or not at all.

    Raises ValueError where the file breaks off, and OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.stem}.unfinished{target.suffix}")
    try:
        with VideoWriter(unfinished, FPS, crf=QUALITY) as writer:
            for pictures in _batches(_chosen(clip, clip.frames[first : first + frames])):
                writer.write(torch.from_numpy(pictures).float().div_(255))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def differences(clip: Clip) -> list[float]:
    """How much each frame of a clip differs from the one before, from 0 to 1: the mean over pixels and colours."""
    found: list[float] = []
    before: NDArray[np.float32] | None = None
    for picture in _chosen(clip, clip.frames):
        small: NDArray[np.float32] = np.divide(picture[::4, ::4], 255, dtype=np.float32)
        if before is not None:
            found.append(float(np.abs(small - before).mean()))
        before = small
    return found


def _chosen(clip: Clip, numbers: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Frames of a file by their numbers, which do not fall; one that is wanted twice comes twice."""
    wanted = iter(numbers)
    number = next(wanted, None)
    place = 0
    for batch in video_batches(clip.path, BATCH):
        for picture in batch:
            while number == place:
                yield picture
                number = next(wanted, None)
            place += 1
        if number is None:
            return
    raise ValueError(f"the video {clip.path.name} ends before its frame {number}; convert it first")


def _batches(pictures: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    group: list[NDArray[np.uint8]] = []
    for picture in pictures:
        group.append(picture)
        if len(group) == BATCH:
            yield np.stack(group)
            group = []
    if group:
        yield np.stack(group)
