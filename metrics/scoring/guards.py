"""Guards: what must not have happened for a score to mean what it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, cosines, finite, floats, mean, rows
from ..measuring.measurements import Measurements
from ..results import Guard
from ..switches import Windows, half_second, settled

BLACK, WHITE = 0.02, 0.98  # mean brightness
NOISE = 0.1  # standard deviation; pictures have less than a tenth of it
NOISE_FACTOR = 3.0
MOST = 0.5  # share of frames
STILL = 0.05  # of the reference's change between frames
SHARPNESS_FACTOR = 2.0
SATURATION_DRIFT = 0.15
KEPT_SHARE = 0.5
KEPT_DROP = 0.1  # of cosine

NOTHING = "not judged without a reference"


def guards(
    measurements: Measurements, windows: Windows, reference: Measurements | None = None
) -> tuple[Guard, ...]:
    """The guards of a switch, or of a whole video by the windows of `whole`.

    finite: no frame holds NaN or infinite values. blank and noise: fewer than half of the settled frames are black or
    white, and they are not noisy, unless the reference is so, too. frozen, sharpness and saturation: the settled
    frames move, and look neither sharper nor more saturated than the old scene and the reference do; without a
    reference (for sharpness one of the same size) these three hold and say so.
    """
    return (
        _finite(measurements, windows),
        _blank(measurements, windows, reference),
        _noise(measurements, windows, reference),
        _frozen(measurements, windows, reference),
        _sharpness(measurements, windows, reference),
        _saturation(measurements, windows, reference),
    )


def whole(frames: int, fps: float) -> Windows:
    """The windows of a video without a switch: its first third, all of it, and its last third."""
    half = half_second(fps)
    last = settled((0, frames), half)
    return Windows((0, frames - last[0]), (0, frames), last, half)


def kept_features(
    name: str,
    features: ArrayLike,
    windows: Windows,
    *,
    control: ArrayLike | None = None,
    centre: ArrayLike | None = None,
) -> Guard:
    """The guard of what should not change: that it still looks as before the switch.

    features: of the kept part [T,D]. control: the same of a video without the switch [T,D]; the cosine to the past
    may be lower by 0.1 than there. Without a control the guard holds and says so. centre: subtracted first [D].
    """
    value = _likeness(rows(features), windows, centre)
    limit = float("nan") if control is None else _likeness(rows(control), windows, centre) - KEPT_DROP
    if not np.isfinite(limit):
        return Guard(name=name, ok=True, value=value, limit=limit, reason="not judged without a control")
    reason = f"{name} has changed: cosine {value:.2f}, at least {limit:.2f}"
    return _guard(name, value >= limit, value, limit, reason=reason)


def kept_object(name: str, confidence: ArrayLike, windows: Windows, threshold: float) -> Guard:
    """The guard of an object that should stay: that it is seen at least half as often as before the switch.

    confidence: of its detector [T]. threshold: confidence above which the object counts as seen.
    """
    levels = floats(confidence)
    seen = np.where(np.isfinite(levels), levels > threshold, np.nan)
    value, before = mean(seen, windows.settled), mean(seen, windows.before)
    limit = KEPT_SHARE * before
    if not limit > 0:
        return Guard(
            name=name, ok=True, value=value, limit=float("nan"), reason=f"{name} was not seen before"
        )
    reason = f"{name} is seen in {value:.0%} of the frames, was in {before:.0%}"
    return _guard(name, value >= limit, value, limit, reason=reason)


def _finite(measurements: Measurements, windows: Windows) -> Guard:
    broken = ~np.asarray(measurements.finite, bool)[slice(*windows.after)]
    share = float(broken.mean()) if broken.size else 0.0
    reason = f"{broken.sum()} frames hold NaN or infinite values"
    return _guard("finite", share == 0, share, 0.0, reason=reason)


def _blank(measurements: Measurements, windows: Windows, reference: Measurements | None) -> Guard:
    value = _share_blank(measurements.brightness[slice(*windows.settled)])
    asked = reference is not None and _share_blank(reference.brightness) >= MOST
    reason = f"{value:.0%} of the frames are black or white"
    return _guard("blank", asked or not value >= MOST, value, MOST, reason=reason)


def _share_blank(brightness: ArrayLike) -> float:
    known = finite(brightness)
    return float(((known < BLACK) | (known > WHITE)).mean()) if known.size else float("nan")


def _noise(measurements: Measurements, windows: Windows, reference: Measurements | None) -> Guard:
    value = _median(measurements.noise[slice(*windows.settled)])
    usual = [_median(measurements.noise[slice(*windows.before)])]
    usual += [] if reference is None else [_median(reference.noise)]
    limit = max([NOISE, *(NOISE_FACTOR * level for level in usual if np.isfinite(level))])
    reason = f"noise of {value:.2f} where {limit:.2f} would be much"
    return _guard("noise", not value > limit, value, limit, reason=reason)


def _frozen(measurements: Measurements, windows: Windows, reference: Measurements | None) -> Guard:
    start, end = windows.settled
    value = mean(measurements.change[start : max(end - 1, start)])
    usual = float("nan") if reference is None else mean(reference.change)
    if not np.isfinite(usual):
        return Guard(name="frozen", ok=True, value=value, limit=usual, reason=NOTHING)
    limit = STILL * usual
    reason = "it stands still, and the reference moves"
    return _guard("frozen", not value < limit, value, limit, reason=reason)


def _sharpness(measurements: Measurements, windows: Windows, reference: Measurements | None) -> Guard:
    value, before = (mean(measurements.sharpness, span) for span in (windows.settled, windows.before))
    if reference is None or reference.size != measurements.size:
        other = NOTHING if reference is None else "a reference of another size cannot judge it"
        return Guard(name="sharpness", ok=True, value=value, limit=before, reason=other)
    lowest, highest = _range(before, mean(reference.sharpness))
    reason = f"sharpness of {value:.3g}, neither that of the old scene nor that of the reference"
    return _within("sharpness", value, lowest / SHARPNESS_FACTOR, highest * SHARPNESS_FACTOR, reason=reason)


def _saturation(measurements: Measurements, windows: Windows, reference: Measurements | None) -> Guard:
    value, before = (mean(measurements.saturation, span) for span in (windows.settled, windows.before))
    if reference is None:
        return Guard(name="saturation", ok=True, value=value, limit=before, reason=NOTHING)
    lowest, highest = _range(before, mean(reference.saturation))
    reason = f"saturation of {value:.2f}, neither that of the old scene nor that of the reference"
    return _within("saturation", value, lowest - SATURATION_DRIFT, highest + SATURATION_DRIFT, reason=reason)


def _range(*values: float) -> tuple[float, float]:
    """The smallest and the largest of the finite values."""
    known = [value for value in values if np.isfinite(value)] or [float("nan")]
    return min(known), max(known)


def _likeness(features: Array, windows: Windows, centre: ArrayLike | None) -> float:
    """Mean cosine of the settled frames to the mean of the frames before."""
    before = finite(features[slice(*windows.before)])
    if not len(before):
        return float("nan")
    return mean(cosines(features[slice(*windows.settled)], before.mean(0), centre)[:, 0])


def _median(values: ArrayLike) -> float:
    known = finite(values)
    return float(np.median(known)) if known.size else float("nan")


def _within(name: str, value: float, low: float, high: float, *, reason: str) -> Guard:
    """A guard that holds between two limits; it names the one that the value is beyond."""
    ok = not (value < low or value > high)
    return _guard(name, ok, value, low if value < low else high, reason=reason)


def _guard(name: str, ok: bool, value: float, limit: float, *, reason: str) -> Guard:
    """A guard that gives its reason only when it fails."""
    return Guard(name=name, ok=bool(ok), value=value, limit=limit, reason="" if ok else reason)
