"""Switch text fidelity (STF): whether the video came to show what the new prompt says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import tanh
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, cosines, mean, rows
from ..measuring.evidence import Evidence, features_of
from ..results import Metric, undefined
from ..switches import Windows, too_little_to_compare
from .picture_fidelity import picture_fidelity

LEAST_DENOMINATOR = 0.1
FOUNDING_DELAY = 5  # frames after the switch
QUOTED = 60  # letters of a text in a reason


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
    shares = state_shares(features, states, logit_scale)
    curve, old_curve = shares[:, 0], shares[:, 1]
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
        "old_before": mean(old_curve, windows.before),
        "old_settled": mean(old_curve, windows.settled),
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
    """STF of a switch: by the texts of its states, or without a text tower by pictures of the new scene."""
    return _by_texts(evidence) if evidence.texts else _by_pictures(evidence)


def separation(new: ArrayLike, old: ArrayLike, logit_scale: float) -> float:
    """How far two states [D] are apart for the softmax: p of a frame like the new one less p of one like the old, 0..1."""
    cosine = min(float(cosines(new, old)[0, 0]), 1.0)
    return tanh(logit_scale * (1 - cosine) / 2)


def _by_texts(evidence: Evidence) -> Metric:
    states, scale = evidence.states(), float(evidence.extractor.logit_scale)
    switch = evidence.switch
    cut = truncated(evidence.extractor, (switch.old, switch.new, *evidence.distractors))
    remark = f"{evidence.extractor.name} reads only the beginning of {_quoted(cut)}" if cut else ""
    if separation(states.new, states.old, scale) < LEAST_DENOMINATOR:
        reason = f"{evidence.extractor.name} cannot tell {_quoted([switch.old, switch.new])} apart"
        return undefined("; ".join(filter(None, (reason, remark))))
    metric = stf(
        evidence.measured.features,
        states.new,
        states.old,
        evidence.windows,
        logit_scale=scale,
        distractors=states.distractors,
        reference=features_of(evidence.reference),
        prompt=states.prompt,
    )
    return replace(metric, reason="; ".join(filter(None, (metric.reason, remark))))


def _by_pictures(evidence: Evidence) -> Metric:
    part, pictures = evidence.changed_part, evidence.target or evidence.reference
    features, shown = features_of(evidence.clip, part), features_of(pictures, part)
    if features is None or shown is None:
        name = evidence.measured.extractor
        where = "" if pictures is None else " by their box, too"
        return undefined(f"{name} features read no text: give pictures of the new scene{where}")
    return picture_fidelity(
        features,
        shown,
        evidence.windows,
        reference=features_of(evidence.reference, part) if evidence.target else None,
        fields=getattr(evidence.extractor, "fields", None) if part is None else None,
    )


def truncated(extractor: Any, texts: Sequence[str]) -> list[str]:
    """The texts that an extractor reads the beginning of only; none where it does not say so."""
    ask = getattr(extractor, "truncated", None)
    return [] if ask is None else list(ask(list(dict.fromkeys(texts))))


def _quoted(texts: Sequence[str]) -> str:
    return " and ".join(repr(shorten(text, QUOTED, placeholder="...")) for text in texts)


def probability(features: ArrayLike, states: ArrayLike, logit_scale: float) -> Array:
    """Share of the first of states [K,D] in the softmax of logit_scale * cosine, [T]; NaN for broken frames."""
    share: Array = state_shares(features, states, logit_scale)[:, 0]
    return share


def state_shares(features: ArrayLike, states: ArrayLike, logit_scale: float) -> Array:
    """Shares of all states [K,D] in the softmax of logit_scale * cosine, [T,K]; NaN for broken frames."""
    logits = logit_scale * cosines(features, states)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    shares: Array = exponents / exponents.sum(1, keepdims=True)
    return shares


def _states(new: ArrayLike, old: ArrayLike, distractors: ArrayLike | None) -> Array:
    states = [rows(new), rows(old)] + ([] if distractors is None else [rows(distractors)])
    return np.concatenate(states)


def _founding(features: Array, prompt: ArrayLike, windows: Windows) -> float:
    frame = windows.after[0] + FOUNDING_DELAY
    return float(cosines(features[frame], prompt)[0, 0]) if frame < windows.after[1] else float("nan")
