"""All that the scores of one switch go by, and these scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, finite, mean
from ..disappearance import calibrate, disappearance_fidelity
from ..dynamics import intentional_dynamics
from ..ghosting import ghosting
from ..inertia import semantic_inertia
from ..latency import transition_latency, with_duration
from ..measuring.clip import Clip
from ..measuring.measurements import Measurements
from ..results import Guard, Metric, SwitchScores, failures, undefined
from ..stf import stf
from ..switches import Switch, Windows
from .guards import guards, kept_features, kept_object

METRICS = ("stf", "tl10", "tl90", "gas", "df", "ddi", "inertia")


@dataclass(frozen=True, eq=False)
class States:
    """Features [D] of the new and the old state and of the new prompt, and of distractors [K,D].

    `centre` [D], or 0, is what is subtracted from frames before they are compared with them.
    """

    new: Array
    old: Array
    prompt: Array
    centre: Array | float
    distractors: Sequence[Array] | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the scores of a switch go by; the fields that are named alike are those of `score`."""

    clip: Clip
    extractor: Any
    texts: Mapping[str, Array]
    centre: Array
    reference: Clip | None
    target: Clip | None
    control: Clip | None
    vanishing: tuple[str, ...]
    kept: tuple[str, ...]
    kept_region: str
    object_free: Mapping[str, ArrayLike]
    threshold: float | None
    distractors: tuple[str, ...]
    trace: Mapping[str, Any] | None

    @property
    def measured(self) -> Measurements:
        """The measurements of the video itself."""
        return self.clip.measurements


def score_switch(switch: Switch, windows: Windows, evidence: Evidence) -> SwitchScores:
    """The metrics and guards of one switch."""
    if not switch.changes:
        reason = "the prompt does not change here"
        return SwitchScores(switch, {key: undefined(reason) for key in METRICS})
    checks = _guards(windows, evidence)
    metrics, failed = _metrics(switch, windows, evidence), failures(checks)
    if failed:
        metrics = {key: metric.but(failed) if metric.valid else metric for key, metric in metrics.items()}
    return SwitchScores(switch, metrics, checks)


def _metrics(switch: Switch, windows: Windows, evidence: Evidence) -> dict[str, Metric]:
    fidelity = _fidelity(switch, windows, evidence)
    vanished = _disappearance(windows, evidence)
    start, end = (_latency(theta, switch, windows, evidence, fidelity, vanished) for theta in (0.1, 0.9))
    return {
        "stf": fidelity,
        "tl10": start,
        "tl90": with_duration(start, end),
        "gas": _ghosting(windows, evidence),
        "df": vanished,
        "ddi": _dynamics(windows, evidence, fidelity),
        "inertia": semantic_inertia(evidence.trace, switch, len(evidence.measured.features)),
    }


def _fidelity(switch: Switch, windows: Windows, evidence: Evidence) -> Metric:
    states = _states(switch, windows, evidence)
    if states is None:
        reason = f"{evidence.measured.extractor} features read no text: give pictures of the new scene"
        return undefined(reason)
    reference = _features(evidence.reference)
    return stf(
        evidence.measured.features - states.centre,
        states.new,
        states.old,
        windows,
        logit_scale=float(evidence.extractor.logit_scale),
        distractors=states.distractors,
        reference=None if reference is None else reference - states.centre,
        prompt=states.prompt,
    )


def _latency(
    theta: float,
    switch: Switch,
    windows: Windows,
    evidence: Evidence,
    fidelity: Metric,
    vanished: Metric,
) -> Metric:
    """By whole frames, or by the detector where a thing vanishes that it sees: frames show little of it."""
    measured = evidence.measured
    common = {"fps": measured.fps, "theta": theta, "interval": switch.interval}
    whole_frames = transition_latency(
        measured.features,
        windows,
        target=_features(evidence.target),
        fidelity=fidelity.value,
        change=measured.change,
        **common,
    )
    if not vanished.valid:
        return whole_frames
    concept = evidence.vanishing[0]
    free = mean(np.ravel(evidence.object_free.get(concept, 0.0)))
    confidence = np.asarray(measured.detections[concept])[:, None]
    seen = transition_latency(confidence, windows, target=[[free]], **common)
    if not seen.valid:
        return whole_frames
    reason = "; ".join(filter(None, (f"by the detections of {concept!r}", seen.reason)))
    details = seen.details | {"whole_frames": whole_frames.value}
    return replace(seen, founding=whole_frames.founding, reason=reason, details=details)


def _ghosting(windows: Windows, evidence: Evidence) -> Metric:
    part = None
    if evidence.clip.region is not None:
        part = "inside" if evidence.kept_region == "outside" else "outside"
    return ghosting(
        _features(evidence.clip, part),
        windows,
        reference=_features(evidence.reference, part),
        centre=evidence.centre,
    )


def _disappearance(windows: Windows, evidence: Evidence) -> Metric:
    if not evidence.vanishing:
        return undefined("nothing was named that should disappear, or no detector was given")
    found = {
        concept: disappearance_fidelity(
            evidence.measured.detections[concept],
            windows,
            fps=evidence.measured.fps,
            threshold=evidence.threshold,
            object_free=evidence.object_free.get(concept),
        )
        for concept in evidence.vanishing
    }
    first = found.pop(evidence.vanishing[0])
    others = {f"df {concept}": metric.value for concept, metric in found.items()}
    return replace(first, details=first.details | others)


def _dynamics(windows: Windows, evidence: Evidence, fidelity: Metric) -> Metric:
    if fidelity.curve is None:
        return undefined(fidelity.reason)
    return intentional_dynamics(
        evidence.measured.flow,
        fidelity.curve,
        windows,
        change=evidence.measured.change,
        stride=evidence.measured.flow_stride,
        reference=None if evidence.reference is None else evidence.reference.measurements.flow,
    )


def _guards(windows: Windows, evidence: Evidence) -> tuple[Guard, ...]:
    reference = None if evidence.reference is None else evidence.reference.measurements
    checks = [*guards(evidence.measured, windows, reference)]
    for concept in evidence.kept:
        limit = calibrate(evidence.object_free.get(concept), evidence.threshold)
        confidence = evidence.measured.detections[concept]
        checks.append(kept_object(concept, confidence, windows, limit.confidence))
    if evidence.clip.region is not None:
        part = evidence.kept_region
        own, other = (_features(clip, part) for clip in (evidence.clip, evidence.control))
        checks.append(kept_features(f"{part} of the box", own, windows, other, evidence.centre))
    return tuple(checks)


def _states(switch: Switch, windows: Windows, evidence: Evidence) -> States | None:
    """By texts; without a text tower by pictures of the new scene and the frames before the switch."""
    texts = evidence.texts
    if texts:
        distractors = [texts[text] for text in evidence.distractors] or None
        prompt = texts[switch.prompt or switch.new]
        return States(texts[switch.new], texts[switch.old], prompt, 0.0, distractors)
    old = _typical(evidence.measured.features[slice(*windows.before)])
    new = _typical(_features(evidence.target or evidence.reference))
    if old is None or new is None:
        return None
    old, new = old - evidence.centre, new - evidence.centre
    return States(new, old, new, evidence.centre)


def _features(clip: Clip | None, part: str | None = None) -> Array | None:
    """Features [T,D] of a clip or of a part of its region; None where there is none."""
    if clip is None or (part is not None and clip.region is None):
        return None
    return clip.measurements.features if part is None else getattr(clip.region, part)


def _typical(features: Array | None) -> Array | None:
    """Mean of the frames that are finite, None without any."""
    known = [] if features is None else finite(features)
    return known.mean(0) if len(known) else None
