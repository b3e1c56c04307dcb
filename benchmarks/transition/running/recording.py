"""Pictures that a benchmark keeps of its episodes: strips for the contact sheet, and whole videos for the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..measures import HALF_SECOND
from .sampling import BenchSettings

STRIPS = "strips"  # folder of the pictures that the contact sheet is made of
VIDEOS = "films"  # folder of the frames of every result, where a bench keeps them

Array = NDArray[Any]


def strip_frames(settings: BenchSettings) -> list[int]:
    """Which frames after the switch a strip shows, from 1: three of the first new section, and the last one."""
    section = settings.section_frames
    return [1, section // 3, section, settings.treated * section]


def save_strip(path: Path, frames: Sequence[Array]) -> None:
    """Write frames [H,W,3] in 0..1 side by side as a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(np.concatenate(frames, axis=1) * 255).astype(np.uint8)).save(path)


def save_video_frames(path: Path, before: Array, after: Array) -> None:
    """Keep the last half second before a switch and what follows it, frames [T,H,W,3] in 0..1, as an .npz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, second = (np.round(255 * part).astype(np.uint8) for part in (before[-HALF_SECOND:], after))
    np.savez_compressed(path, before=first, after=second)


def load_video_frames(path: Path) -> tuple[Array, int]:
    """Frames uint8 [T,H,W,3] that `save_video_frames` has kept, and the number of the first one after the switch."""
    with np.load(path) as video:
        return np.concatenate([video["before"], video["after"]]), len(video["before"])
