"""The results of an evaluation - of a metric, a switch and a video - and how they go to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from math import isfinite, nan
from typing import Any

import numpy as np

from .arrays import Array
from .measuring.measurements import Measurements
from .switches import Switch

SCORES_SCHEMA = "framepack-transitions/scores/1"


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric of one switch.

    value: the calibrated value; NaN where undefined.
    founding: the value of the simpler formula that the project was founded on; NaN where undefined.
    valid: whether the value may be compared with others.
    reason: why it may not, or what to know about it.
    censored: whether the value is a wait that ended before the event was seen.
    curve: the values behind it, frame by frame [T], NaN where undefined.
    details: further numbers by name.
    """

    value: float
    founding: float
    valid: bool
    reason: str = ""
    _: KW_ONLY
    censored: bool = False
    curve: Array | None = None
    details: dict[str, float] = field(default_factory=dict)

    def but(self, reason: str) -> Metric:
        """The same metric, not valid for one more reason."""
        return replace(self, valid=False, reason="; ".join(filter(None, (self.reason, reason))))

    def to_json(self) -> dict[str, Any]:
        """Plain data without the curve; numbers that are not finite become None."""
        return {
            "value": number(self.value),
            "founding": number(self.founding),
            "valid": bool(self.valid),
            "reason": self.reason,
            "censored": bool(self.censored),
            "details": {name: number(value) for name, value in self.details.items()},
        }


@dataclass(frozen=True)
class Guard:
    """A check that a video is not broken in a way that a score would not notice.

    name: what is checked.
    ok: whether the check holds.
    value: what was measured.
    limit: what it was compared with; NaN where nothing could be.
    reason: why the check fails, or why it could not be made.
    """

    name: str
    ok: bool
    value: float
    limit: float
    _: KW_ONLY
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data; numbers that are not finite become None."""
        return {
            "name": self.name,
            "ok": bool(self.ok),
            "value": number(self.value),
            "limit": number(self.limit),
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a switch succeeded.

    success: None where it cannot be said.
    share: mean share of the state that should be seen, among all that are known, in the settled frames, 0..1; NaN unknown.
    reason: why it did not succeed, or why it cannot be said; "" otherwise.
    distractors: the texts besides the old and the new state that the share is among.
    """

    success: bool | None
    share: float = nan
    reason: str = ""
    distractors: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data; an unknown share is None."""
        return {**vars(self), "share": number(self.share), "distractors": list(self.distractors)}


@dataclass(frozen=True)
class SwitchScores:
    """The scores of one switch.

    switch: the switch.
    metrics: its metrics by key, in the order of scoring.registry.METRICS.
    guards: its checks.
    verdict: whether it succeeded, by scoring.verdict.decide; None where the prompt does not change.
    """

    switch: Switch
    metrics: Mapping[str, Metric]
    guards: tuple[Guard, ...] = ()
    verdict: Verdict | None = None

    def to_json(self, fps: float) -> dict[str, Any]:
        """Plain data of a video of `fps` frames per second."""
        return {
            "frame": self.switch.frame,
            "seconds": number(self.switch.seconds(fps)),
            "requested": number(self.switch.requested),
            "old": self.switch.old,
            "new": self.switch.new,
            "change": self.switch.change,
            "metrics": {key: metric.to_json() for key, metric in self.metrics.items()},
            "guards": [guard.to_json() for guard in self.guards],
            "verdict": None if self.verdict is None else self.verdict.to_json(),
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class VideoScores:
    """The scores of a video.

    name: what tables and plots call it.
    frames: number of frames.
    fps: frames per second.
    size: height and width in px.
    features: the name of the feature extractor.
    switches: the scores of each switch.
    measurements: what was measured.
    guards: checks of the whole video.
    summary: averages over the switches by name.
    """

    name: str
    frames: int
    fps: float
    size: tuple[int, int]
    features: str
    switches: tuple[SwitchScores, ...]
    measurements: Measurements
    guards: tuple[Guard, ...] = ()
    summary: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data with a versioned `schema`; curves stay in `measurements` and in the metrics."""
        return {
            "schema": SCORES_SCHEMA,
            "name": self.name,
            "frames": self.frames,
            "fps": number(self.fps),
            "size": list(self.size),
            "features": self.features,
            "change_method": self.measurements.change_method,
            "flow_method": self.measurements.flow_method,
            "guards": [guard.to_json() for guard in self.guards],
            "switches": [scores.to_json(self.fps) for scores in self.switches],
            "summary": {name: number(value) for name, value in self.summary.items()},
        }


def undefined(
    reason: str,
    founding: float = np.nan,
    curve: Array | None = None,
    details: Mapping[str, float] | None = None,
) -> Metric:
    """A metric without a calibrated value, and why."""
    return Metric(
        value=np.nan, founding=founding, valid=False, reason=reason, curve=curve, details=dict(details or {})
    )


def failures(guards: Sequence[Guard]) -> str:
    """The reasons of the guards that fail, "" when all hold."""
    return "; ".join(f"guard {guard.name}: {guard.reason}" for guard in guards if not guard.ok)


def number(value: float) -> float | None:
    """A float for JSON, None where it is not finite."""
    return float(value) if isfinite(value) else None
