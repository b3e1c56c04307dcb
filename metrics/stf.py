"""Switch text fidelity (STF): whether the video came to show what the new prompt says."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, cosines, mean, rows
from .measuring.evidence import Evidence, features_of
from .results import Metric, undefined
from .switches import Windows, too_little_to_compare

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
    """How much of the way from the old state to the new one the video goes: (p_settled - p_old) / (p_R - p_old).

    p of a frame is the share of the new state in the softmax of logit_scale * cosine to all states; it is the curve.
    p_settled is its mean in the settled window after the switch, p_old that before the switch, and p_R that of the
    reference (1 without one). 0: nothing came of the switch; 1: as much as in the reference; values beyond are not
    clipped. High is good. Not valid where p_R - p_old is below 0.1, or where a window is missing or too short.
    The founding value is the cosine of the frame 5 frames after the switch to the new prompt.

    features: of frames [T,D]. new, old: features of the two states [D], of texts or of pictures.
    distractors: features of states that are neither [K,D]. reference: features of its frames [n,D].
    prompt: features of the new prompt [D], where it differs from the new state.
    """
    features, states = rows(features), _states(new, old, distractors)
    curve = probability(features, states, logit_scale)
    founding = _founding(features, states[0] if prompt is None else prompt, windows)
    if (reason := too_little_to_compare(windows)) is not None:
        return undefined(reason, founding, curve)
    p_old, p_settled = mean(curve, windows.before), mean(curve, windows.settled)
    p_reference = 1.0 if reference is None else mean(probability(reference, states, logit_scale))
    similar = cosines(features, states[:2])
    details = {
        "p_old": p_old,
        "p_settled": p_settled,
        "p_reference": p_reference,
        "margin": mean(similar[:, 0] - similar[:, 1], windows.settled),
    }
    if not np.isfinite(p_reference - p_old + p_settled):
        return undefined("no frame of a window is finite", founding, curve, details)
    if p_reference - p_old < LEAST_DENOMINATOR:
        reason = (
            f"before the switch p is {p_old:.2f} already and in the reference {p_reference:.2f}: "
            "there is nothing to gain"
        )
        return undefined(reason, founding, curve, details)
    value = (p_settled - p_old) / (p_reference - p_old)
    return Metric(value=value, founding=founding, valid=True, curve=curve, details=details)


def score_stf(evidence: Evidence) -> Metric:
    """STF of a switch."""
    states = evidence.states()
    if states is None:
        return undefined(
            f"{evidence.measured.extractor} features read no text: give pictures of the new scene"
        )
    reference = features_of(evidence.reference)
    return stf(
        evidence.measured.features - states.centre,
        states.new,
        states.old,
        evidence.windows,
        logit_scale=float(evidence.extractor.logit_scale),
        distractors=states.distractors,
        reference=None if reference is None else reference - states.centre,
        prompt=states.prompt,
    )


def probability(features: ArrayLike, states: ArrayLike, logit_scale: float) -> Array:
    """Share of the first of states [K,D] in the softmax of logit_scale * cosine, [T]; NaN for broken frames."""
    logits = logit_scale * cosines(features, states)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    shares: Array = exponents[:, 0] / exponents.sum(1)
    return shares


def _states(new: ArrayLike, old: ArrayLike, distractors: ArrayLike | None) -> Array:
    states = [rows(new), rows(old)] + ([] if distractors is None else [rows(distractors)])
    return np.concatenate(states)


def _founding(features: Array, prompt: ArrayLike, windows: Windows) -> float:
    frame = windows.after[0] + FOUNDING_DELAY
    return float(cosines(features[frame], prompt)[0, 0]) if frame < windows.after[1] else float("nan")
