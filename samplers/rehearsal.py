"""Asks techniques for every step of a run beforehand: what cannot work together is refused before anything is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .guidance import Guidance
from .plan import Section
from .sigmas import unshift_sigma
from .techniques.base import (
    Schedule,
    Step,
    Technique,
    attention_at,
    check_claims,
    guidance_at,
    predictions_at,
)


def rehearse(
    techniques: Sequence[Technique],
    sections: Sequence[Section],
    schedules: Mapping[int, Schedule],
    guidance: Guidance,
) -> None:
    """Go through all sections and their schedules (by section index) without a model. Raises ValueError as hooks do.

    Sections that techniques cannot tell apart but by their place are asked once.
    """
    asked = set()
    for section in sections:
        schedule = schedules[section.index]
        alike = (
            section.change,
            section.since_switch,
            section.previous is None,
            tuple(schedule.sigmas.tolist()),
        )
        if alike in asked:
            continue
        asked.add(alike)
        steps = [Step(sigma, unshift_sigma(sigma, schedule.shift)) for sigma in schedule.sigmas[:-1].tolist()]
        if all(guidance_at(techniques, section, step, guidance).zero_velocity for step in steps):
            raise ValueError(
                f"zero_init leaves no step of section {section.index} to predict anything in; lower it, or take more steps."
            )
        for step in steps:
            predictions_at(techniques, section, step)
            attention_at(techniques, section, step)
            check_claims(techniques, section, step)
