"""Switch text fidelity (STF): whether the video came to show what the new prompt says."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, cosines, mean, rows
from .results import Metric, undefined
from .switches import Windows

LEAST_DENOMINATOR = 0.1
FOUNDING_DELAY = 5  # frames after the switch


def stf(
    features: ArrayLike,
    new: ArrayLike,
    old: ArrayLike,
    windows: Windows,
    *,
    logit_scale: float = 100.0,
    distractors: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    prompt: ArrayLike | None = None,
) -> Metric:
    """(mean p over the settled window - p_old) / (p_R - p_old), p the share of the new state; curve: p.

    features [T,D]: frames; new, old [D]: features of the two states, of texts or of pictures (prototypes);
    distractors [K,D]: states that are neither; prompt [D]: the new prompt, where it is not the new state.
    reference [n,D]: frames of R, whose mean p is p_R (1 without them). p_old is the mean p before the switch.
    Founding: cosine of the frame 5 frames after the switch to the new prompt.
    The value is 0 where nothing came of the switch and 1 where as much came as in R; it is not clipped.
    """
    features, states = rows(features), _states(new, old, distractors)
    curve = probability(features, states, logit_scale)
    founding = _founding(features, states[0] if prompt is None else prompt, windows)
    if (reason := problem(windows)) is not None:
        return undefined(reason, founding, curve)
    p_old, p_new = mean(curve, windows.before), mean(curve, windows.settled)
    p_reference = 1.0 if reference is None else mean(probability(reference, states, logit_scale))
    similar = cosines(features, states[:2])
    details = {
        "p_old": p_old,
        "p_settled": p_new,
        "p_reference": p_reference,
        "margin": mean(similar[:, 0] - similar[:, 1], windows.settled),
    }
    if not np.isfinite(p_reference - p_old + p_new):
        return undefined("no frame of a window is finite", founding, curve, details)
    if p_reference - p_old < LEAST_DENOMINATOR:
        reason = (
            f"before the switch p is {p_old:.2f} already and in the reference {p_reference:.2f}: "
            "there is nothing to gain"
        )
        return undefined(reason, founding, curve, details)
    return Metric((p_new - p_old) / (p_reference - p_old), founding, True, curve=curve, details=details)


def probability(features: ArrayLike, states: ArrayLike, logit_scale: float) -> Array:
    """Share of the first of states [K,D] in the softmax of logit_scale * cosine, [T]; NaN where broken."""
    logits = logit_scale * cosines(features, states)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents[:, 0] / exponents.sum(1)


def problem(windows: Windows) -> str | None:
    """Why there is nothing to compare around a switch, None when there is."""
    if windows.stretch < 1:
        return "the switch lies behind the last frame"
    if windows.before[0] >= windows.before[1]:
        return "no frame precedes the switch"
    if windows.is_short:
        return (
            f"only {windows.stretch} frames follow before the next switch or the end, less than half a second"
        )
    return None


def _states(new: ArrayLike, old: ArrayLike, distractors: ArrayLike | None) -> Array:
    states = [rows(new), rows(old)] + ([] if distractors is None else [rows(distractors)])
    return np.concatenate(states)


def _founding(features: Array, prompt: ArrayLike, windows: Windows) -> float:
    frame = windows.after[0] + FOUNDING_DELAY
    return float(cosines(features[frame], prompt)[0, 0]) if frame < windows.after[1] else float("nan")
