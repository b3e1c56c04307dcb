"""Transition latency (TL): how long it takes until the new scene is there to stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, finite, mean, rows
from ..measuring.evidence import Evidence, features_of
from ..results import Metric, undefined
from ..switches import Windows, too_little_to_compare

HELD = 0.9  # of the next full half second
DEVIATIONS = 3.0  # pooled standard deviations by which old and new must differ
SAME = 1e-3  # of the old mean's length: less is rounding
LEAST_FIDELITY = 0.5
ALIKE = "old and new scene differ by no more than 3 standard deviations"
IGNORED = "the new prompt is not followed"
UNCONFIRMED = (
    "nothing says that the scene in which the stretch ends is the new one: give features that read the prompts, "
    "pictures of the new scene, or a detector"
)


def transition_latency(
    features: ArrayLike,
    windows: Windows,
    *,
    fps: float,
    theta: float = 0.9,
    target: ArrayLike | None = None,
    fidelity: float = np.nan,
    change: ArrayLike | None = None,
    change_limit: float | None = None,
    interval: tuple[float, float] | None = None,
) -> Metric:
    """Frames from the switch until `theta` of the way to the new scene is done, and stays so.

    The way is u = <x - mu_old, mu_new - mu_old> / |mu_new - mu_old|^2 of the features x of a frame; it is the curve.
    theta is reached at the first frame with u >= theta for which that holds in 90 % of the next full half second.
    mu_old is the mean of the settled frames before the switch; mu_new that of `target`, or of the settled frames
    after the switch. 0 is the best value; low is good. A wait that ends with the next switch or the video is
    censored: the value is the number of frames waited. So is one whose prompt was ignored: without a target that is
    where `fidelity` is below 0.5. Not valid where neither target nor fidelity says that the new scene has come (what
    the wait would be is then among the details), where the means do not differ by more than 3 pooled standard
    deviations though the prompt was followed, or where a window is missing or too short. The founding value is the
    first frame from which `change` stays below a limit; of a censored wait it is the frames waited, because a video
    in which nothing changes is calm at once. details: seconds, and the distance to `interval` in seconds.

    features: of frames [T,D]. fps: frames per second. theta: share of the way. target: features of pictures of what
    should be seen [n,D]. fidelity: STF of the switch, NaN where unknown. change: distance of neighbouring frames
    [T-1]. change_limit: its limit; None is what is usual before the switch. interval: first and last second at which
    a gradual change is meant to be complete.
    """
    features, stretch = rows(features), {"stretch": float(windows.stretch)}
    if (reason := _unanswerable(windows, target)) is not None:
        return undefined(reason, details=stretch)
    old = finite(features[slice(*windows.before)])
    new = finite(features[slice(*windows.settled)] if target is None else rows(target))
    if not len(old) or not len(new):
        return undefined("no frame of a window is finite", details=stretch)
    difference, spread = distance(old, new)
    details = stretch | {"difference": difference, "spread": spread}
    alike = difference <= max(DEVIATIONS * spread, SAME * float(np.linalg.norm(old.mean(0))))
    curve = None if alike else progress(features, old.mean(0), new.mean(0))
    if target is None and fidelity < LEAST_FIDELITY:
        return _wait(None, windows, fps, reason=IGNORED, curve=curve, details=details, interval=interval)
    if curve is None:
        return undefined(ALIKE, details=details)
    after = curve[slice(*windows.after)]
    reached = first_held(after >= theta, windows.half, np.isfinite(after))
    if target is None and not np.isfinite(fidelity):
        seen = np.nan if reached is None else float(reached)
        return undefined(UNCONFIRMED, curve=curve, details=details | {"unconfirmed": seen})
    reason = "not reached" if reached is None else ""
    founding = settling(change, windows, change_limit) if change is not None else np.nan
    return _wait(
        reached,
        windows,
        fps,
        reason=reason,
        curve=curve,
        details=details,
        interval=interval,
        founding=founding,
    )


def _wait(
    reached: int | None,
    windows: Windows,
    fps: float,
    *,
    reason: str,
    curve: Array | None,
    details: dict[str, float],
    interval: tuple[float, float] | None,
    founding: float = np.nan,
) -> Metric:
    """A latency of so many frames; None is one that is censored when the stretch ends."""
    frames = float(windows.stretch if reached is None else reached)
    return Metric(
        value=frames,
        founding=frames if reached is None else founding,
        valid=True,
        reason=reason,
        censored=reached is None,
        curve=curve,
        details=details | {"seconds": frames / fps} | _to_interval(frames / fps, interval),
    )


def score_latency(evidence: Evidence, fidelity: Metric, vanished: Metric, *, theta: float) -> Metric:
    """Latency of a switch, given its STF and its DF.

    By whole frames; where a thing vanishes that the detector sees, by its detections: frames show little of it.
    """
    whole_frames = _by_whole_frames(evidence, fidelity, theta)
    if not vanished.valid:
        return whole_frames
    seen = _by_detections(evidence, theta)
    if not seen.valid:
        return whole_frames
    reason = "; ".join(filter(None, (f"by the detections of {evidence.vanishing[0]!r}", seen.reason)))
    details = seen.details | {"whole_frames": whole_frames.value}
    return replace(seen, reason=reason, details=details)


def score_completion(
    evidence: Evidence, fidelity: Metric, vanished: Metric, start: Metric, *, theta: float
) -> Metric:
    """Latency as `score_latency` gives it, with the frames since `start` (TL10) as a detail."""
    return with_duration(start, score_latency(evidence, fidelity, vanished, theta=theta))


def _by_whole_frames(evidence: Evidence, fidelity: Metric, theta: float) -> Metric:
    measured = evidence.measured
    return transition_latency(
        measured.features,
        evidence.windows,
        fps=measured.fps,
        theta=theta,
        target=features_of(evidence.target),
        fidelity=fidelity.value,
        change=measured.change,
        interval=evidence.switch.interval,
    )


def _by_detections(evidence: Evidence, theta: float) -> Metric:
    concept = evidence.vanishing[0]
    free = mean(np.ravel(evidence.object_free.get(concept, 0.0)))
    return transition_latency(
        np.asarray(evidence.measured.detections[concept])[:, None],
        evidence.windows,
        fps=evidence.measured.fps,
        theta=theta,
        target=[[free]],
        change=evidence.measured.change,
        interval=evidence.switch.interval,
    )


def with_duration(start: Metric, end: Metric) -> Metric:
    """`end` (TL90) with the frames since `start` (TL10) as a detail; NaN where either was not seen."""
    seen = not (start.censored or end.censored)
    return replace(end, details=end.details | {"duration": end.value - start.value if seen else np.nan})


def progress(features: Array, old: Array, new: Array) -> Array:
    """How far each frame [T,D] has come on the line from old [D] (0) to new [D] (1), [T]."""
    way: Array = (features - old) @ (new - old) / ((new - old) @ (new - old))
    return way


def distance(old: Array, new: Array) -> tuple[float, float]:
    """Distance of the means of two groups of rows, and their pooled standard deviation about them.

    Both are lengths in the feature space; a group of one row says nothing about the deviation.
    """
    squares = sum(float(((group - group.mean(0)) ** 2).sum()) for group in (old, new))
    freedom = len(old) + len(new) - 2
    difference = float(np.linalg.norm(new.mean(0) - old.mean(0)))
    return difference, (squares / freedom) ** 0.5 if freedom else 0.0


def first_held(reached: ArrayLike, hold: int, known: ArrayLike | None = None) -> int | None:
    """First index of bool [n] that is set and so are 90 % of the `hold` from it on; None without one.

    Frames that are not `known` do not count; half of them must be.
    """
    flags = np.asarray(reached, bool)
    certain = np.ones_like(flags) if known is None else np.asarray(known, bool)
    flags = flags & certain
    for index in range(len(flags) - hold + 1):
        span = slice(index, index + hold)
        count = certain[span].sum()
        if flags[index] and 2 * count >= hold and flags[span].sum() >= HELD * count - 1e-9:
            return index
    return None


def settling(change: ArrayLike, windows: Windows, limit: float | None = None) -> float:
    """The founding latency: frames from the switch until the change between frames [T-1] stays below a limit.

    None for the limit is what is usual before the switch: mean and three standard deviations, at least a
    twentieth of the largest change after it. NaN when the last half second is not calm.
    """
    change = np.asarray(change, np.float64)
    start, end = windows.after
    after = change[start : max(end - 1, start)]
    if limit is None:
        before = finite(change[windows.before[0] : max(windows.before[1] - 1, 0)])
        usual = before.mean() + 3 * before.std() if before.size else 0.0
        limit = max(usual, 0.05 * float(np.max(finite(after), initial=0.0)))
    busy = np.flatnonzero(after > limit)
    frames = int(busy[-1]) + 1 if busy.size else 0
    return float(frames) if len(after) - frames >= windows.half - 1 and finite(after).size else float("nan")


def _unanswerable(windows: Windows, target: ArrayLike | None) -> str | None:
    """Why no latency can be told; with a target a stretch may be short, as the wait is censored then."""
    return too_little_to_compare(windows if target is None else replace(windows, half=1))


def _to_interval(seconds: float, interval: Sequence[float] | None) -> dict[str, float]:
    if interval is None:
        return {}
    first, last = interval
    return {"interval_distance": max(first - seconds, seconds - last, 0.0)}
