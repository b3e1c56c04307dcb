"""Semantic inertia: how strongly the section after a switch attends to the memory of the old scene."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import log
from typing import Any

import numpy as np

from ..measuring.evidence import Evidence
from ..results import Metric, undefined
from ..switches import Switch


def semantic_inertia(trace: Mapping[str, Any] | None, switch: Switch, frames: int) -> Metric:
    """How strongly the memory of the old scene is attended to: logit w - log(n_context / n_rest).

    w is the share of the attention that falls on the packed past in the first section that was generated for the
    other prompt, before any gating; n_context and n_rest are the numbers of tokens. 0: attention treats all tokens
    alike; positive: it prefers the past. Low is good. Not valid without a trace that records attention. The founding
    value is w itself. The curve is the value of each section [frames].

    trace: the sampler's trace; its sections hold `memory` with mass, context_tokens and rest_tokens.
    switch: the switch. frames: number of frames of the video.
    """
    sections = sorted((trace or {}).get("sections", ()), key=lambda section: section["frames"][0])
    if not sections:
        return undefined("no trace of the sampler was given")
    curve = np.full(frames, np.nan)
    for section in sections:
        curve[slice(*section["frames"])] = log_odds(section.get("memory"))
    decisive = _first_for_the_other_prompt(sections, switch)
    if decisive is None:
        return undefined(f"no section of the trace starts at frame {switch.frame}", curve=curve)
    memory = decisive.get("memory")
    if not memory:
        return undefined("the trace does not record the attention on the context", curve=curve)
    value, mass = log_odds(memory), float(memory["mass"])
    if not np.isfinite(value):
        return undefined(f"an attention mass of {mass:g} on the context has no logit", mass, curve)
    return Metric(
        value=value, founding=mass, valid=True, curve=curve, details={"section": float(decisive["index"])}
    )


def score_inertia(evidence: Evidence) -> Metric:
    """Semantic inertia of a switch."""
    return semantic_inertia(evidence.trace, evidence.switch, len(evidence.measured))


def log_odds(memory: Mapping[str, Any] | None) -> float:
    """logit of the mass on the context, less what it would be if all tokens were alike; NaN where unknown."""
    if not memory:
        return float("nan")
    mass, context, rest = (float(memory[key]) for key in ("mass", "context_tokens", "rest_tokens"))
    if not (0 < mass < 1 and context > 0 and rest > 0):
        return float("nan")
    return log(mass / (1 - mass)) - log(context / rest)


def _first_for_the_other_prompt(
    sections: list[Mapping[str, Any]], switch: Switch
) -> Mapping[str, Any] | None:
    """Of the two sections that meet at the switch the one made later: the original layout runs backwards."""
    for before, after in pairwise(sections):
        if after["frames"][0] == switch.frame:
            return max((before, after), key=lambda section: section["index"])
    return None
