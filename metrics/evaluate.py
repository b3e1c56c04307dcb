"""All metrics of a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .results import SwitchScores, VideoScores
from .switches import Switch

if TYPE_CHECKING:
    from .measure import Measurements


def score(
    measurements: Measurements,
    switches: Sequence[Switch],
    *,
    extractor: Any,
    reference: Measurements | Sequence[Measurements | None] | None = None,
    target: Measurements | Sequence[Measurements | None] | None = None,
    vanishing: Sequence[str] | Mapping[int, Sequence[str]] | None = None,
    kept: Sequence[str] = (),
    object_free: Mapping[str, Sequence[float]] | None = None,
    trace: Mapping[str, Any] | None = None,
    distractors: Sequence[str] = (),
    name: str = "video",
) -> VideoScores:
    """Score the switches of a measured video."""
    scores: tuple[SwitchScores, ...] = ()
    return VideoScores(
        name,
        len(measurements.features),
        measurements.fps,
        measurements.size,
        measurements.extractor,
        scores,
        measurements,
    )
