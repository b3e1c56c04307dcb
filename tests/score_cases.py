"""Scores made up by hand, for what shows or writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from framepack_transitions.metrics.results import Guard, Metric, SwitchScores, VideoScores
from framepack_transitions.metrics.switches import Switch


@dataclass
class Measured:
    """The fields of Measurements that plots and reports read."""

    features: np.ndarray
    change: np.ndarray
    flow: np.ndarray
    brightness: np.ndarray
    saturation: np.ndarray
    sharpness: np.ndarray
    noise: np.ndarray
    change_method: str = "features"
    flow_method: str = "off"
    detections: Mapping[str, np.ndarray] = field(default_factory=dict)
    thumbnails: Mapping[int, np.ndarray] = field(default_factory=dict)


def metric(value: float, founding: float = np.nan, reason: str = "", **more: Any) -> Metric:
    """A metric that is valid unless `valid` says otherwise."""
    return Metric(value=value, founding=founding, valid=more.pop("valid", True), reason=reason, **more)


def switch_scores(frame: int, guards: tuple[Guard, ...] = (), **metrics: Metric) -> SwitchScores:
    """A switch from day to night at `frame` of a video with 30 fps."""
    return SwitchScores(
        Switch(frame=frame, requested=frame / 30, old="a day", new="a night"), metrics, guards
    )


def video_scores(
    name: str = "video.mp4",
    frames: int = 90,
    switches: tuple[SwitchScores, ...] = (),
    colours: Mapping[int, tuple[int, int, int]] | None = None,
    **more: Any,
) -> VideoScores:
    """A video of 64x48 at 30 fps; `colours` of its frames from a number on, grey by default."""
    level = np.full(frames, 0.5)
    pictures = {}
    for number in np.unique(np.linspace(0, frames - 1, min(64, frames)).astype(int)):
        colour = [value for first, value in (colours or {0: (128, 128, 128)}).items() if first <= number][-1]
        pictures[int(number)] = np.full((48, 64, 3), colour, np.uint8)
    measured = Measured(
        np.ones((frames, 4)),
        level[1:],
        np.full(frames - 1, np.nan),
        level,
        level,
        level,
        level,
        detections=more.pop("detections", {}),
        thumbnails=pictures,
    )
    return VideoScores(
        name=name,
        frames=frames,
        fps=30.0,
        size=(48, 64),
        features="pixel",
        switches=tuple(switches),
        measurements=measured,
        **more,
    )
