"""Transition latency (TL): how long it takes until the new scene is there to stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, finite, rows
from .results import Metric, undefined
from .stf import problem
from .switches import Windows

HELD = 0.9  # of the next full half second
DEVIATIONS = 3.0  # pooled standard deviations by which old and new must differ
SAME = 1e-3  # of the old mean's length: less is rounding
LEAST_FIDELITY = 0.5
ALIKE = "old and new scene differ by no more than 3 standard deviations"
UNCHECKED = "nothing says that the scene in which the stretch ends is the new one"


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
    """First frame, counted from the switch, from which `theta` of the way to the new scene is done; curve: u.

    u(t) = <x_t - mu_old, mu_new - mu_old> / |mu_new - mu_old|^2 on raw features [T,D]; theta is reached at
    the first frame with u >= theta which is so in 90 % of the next full half second. mu_old is the mean of
    the settled window before the switch; mu_new that of `target` [n,D] (pictures of what should be seen), or
    of the settled window after it, which counts as arrived unless `fidelity` (STF) is below 0.5. Undefined
    unless the means differ by more than 3 pooled standard deviations. Not reached until the next switch or
    the end: censored, and the value is the number of frames waited. Founding: first frame from which `change`
    [T-1] stays below `change_limit` (None: what is usual before the switch). details: seconds, and the
    distance to `interval` in seconds for a gradual instruction.
    """
    features = rows(features)
    founding = settling(change, windows, change_limit) if change is not None else float("nan")
    if (reason := _unanswerable(windows, target)) is not None:
        return undefined(reason, founding)
    old = finite(features[slice(*windows.before)])
    new = finite(features[slice(*windows.settled)] if target is None else rows(target))
    if not len(old) or not len(new):
        return undefined("no frame of a window is finite", founding)
    difference, spread = distance(old, new)
    details = {"difference": difference, "spread": spread}
    if difference <= max(DEVIATIONS * spread, SAME * float(np.linalg.norm(old.mean(0)))):
        return undefined(ALIKE, founding, details=details)
    curve = progress(features, old.mean(0), new.mean(0))
    after = curve[slice(*windows.after)]
    frames = first_held(after >= theta, windows.half, np.isfinite(after))
    never = target is None and fidelity < LEAST_FIDELITY
    censored = frames is None or never
    frames = windows.stretch if censored else frames
    details |= {"seconds": frames / fps} | _to_interval(frames / fps, interval)
    reason = "the new prompt is not followed" if never else "not reached" if censored else ""
    if target is None and not np.isfinite(fidelity):
        reason = "; ".join(filter(None, (reason, UNCHECKED)))
    return Metric(float(frames), founding, True, reason, censored, curve, details)


def with_duration(start: Metric, end: Metric) -> Metric:
    """`end` (TL90) with the frames since `start` (TL10) as a detail; NaN where either was not seen."""
    seen = not (start.censored or end.censored)
    return replace(end, details=end.details | {"duration": end.value - start.value if seen else np.nan})


def progress(features: Array, old: Array, new: Array) -> Array:
    """How far each frame [T,D] has come on the line from old [D] (0) to new [D] (1), [T]."""
    return (features - old) @ (new - old) / ((new - old) @ (new - old))


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
    reached = np.asarray(reached, bool)
    known = np.ones_like(reached) if known is None else np.asarray(known, bool)
    reached = reached & known
    for index in range(len(reached) - hold + 1):
        span = slice(index, index + hold)
        count = known[span].sum()
        if reached[index] and 2 * count >= hold and reached[span].sum() >= HELD * count - 1e-9:
            return index
    return None


def settling(change: ArrayLike, windows: Windows, limit: float | None = None) -> float:
    """The founding TL: frames from the switch until the change between frames [T-1] stays below a limit.

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
    """A stretch that is too short for a settled window still censors when the new scene is known."""
    return problem(windows if target is None else replace(windows, half=1))


def _to_interval(seconds: float, interval: Sequence[float] | None) -> dict[str, float]:
    if interval is None:
        return {}
    first, last = interval
    return {"interval_distance": max(first - seconds, seconds - last, 0.0)}
