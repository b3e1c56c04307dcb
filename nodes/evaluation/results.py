"""Scores as the outputs of a node: numbers, a report and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ...metrics import VideoScores
from ...metrics.reporting.plot import plot_curves
from ...metrics.reporting.report import text_table
from ..output import new_output

PREVIEW_PREFIX = "framepack_evaluation"


def mean_over_switches(scores: VideoScores, key: str) -> float:
    """Mean of the valid values of a metric over the switches; NaN where there is none."""
    return float(scores.summary.get(key, nan))


def seconds_to_completion(scores: VideoScores) -> float:
    """TL90 in seconds, as a restricted mean over the switches; infinity where no switch gets there."""
    if scores.summary.get("tl90_reached") == 0:
        return inf
    return float(scores.summary.get("tl90_restricted_mean", nan)) / scores.fps


def node_result(scores: Sequence[VideoScores], *values: float) -> dict[str, Any]:
    """What a node returns: `values`, report and picture, and the last two again for the interface."""
    report, plot = text_table(scores), plot_curves(scores)
    picture = torch.from_numpy(plot).float().div(255)[None]
    return {"ui": {**_preview(plot), "text": [report]}, "result": (*values, report, picture)}


def _preview(plot: NDArray[np.uint8]) -> dict[str, Any]:
    height, width = plot.shape[:2]
    with new_output(PREVIEW_PREFIX, ".png", (width, height), temporary=True) as file:
        Image.fromarray(plot).save(file.path, format="PNG")
    return {"images": [file.shown()]}
