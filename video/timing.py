"""How many frames a video file has, and how fast they follow one another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import av

TOLERANCE = 0.1  # how far the time between two frames may be from the usual one, as a share of it


@dataclass(frozen=True, kw_only=True)
class VideoTiming:
    """The frames of a video in time.

    frames: how many there are.
    fps: frames per second, on average.
    constant: whether all follow at the same distance.
    """

    frames: int
    fps: float
    constant: bool


def video_timing(path: Path) -> VideoTiming | None:
    """The timing of a video file, read without decoding a frame; None where it cannot be read."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
            return _timing(times, stream)
    except (av.FFmpegError, IndexError, OSError):
        return None


def _timing(times: list[int], stream: Any) -> VideoTiming | None:
    """The timing of frames at these times, in ticks of the stream's time base."""
    steps = [later - earlier for earlier, later in pairwise(times)]
    if not steps or times[-1] == times[0]:
        return None
    usual = median(steps)
    # A time base may be too coarse for the rate: one tick more or less is no change of it.
    allowed = max(TOLERANCE * usual, 1)
    return VideoTiming(
        frames=len(times),
        fps=float(len(steps) / ((times[-1] - times[0]) * stream.time_base)),
        constant=all(abs(step - usual) <= allowed for step in steps),
    )
