"""Asks techniques for every step of a run beforehand: what cannot work together is refused before anything is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..context.history import Context
from ..context.plan import Section
from ..guidance import Guidance
from ..techniques.base import Schedule, Technique
from ..techniques.chain import check_claims
from .denoiser import SectionDenoiser


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
            schedule.shift,
            tuple(schedule.sigmas.tolist()),
        )
        if alike in asked:
            continue
        asked.add(alike)
        denoiser = SectionDenoiser(
            section=section,
            context=Context(indices=section.indices),
            guidance=guidance,
            shift=schedule.shift,
            techniques=techniques,
        )
        steps = [denoiser.step(sigma) for sigma in schedule.sigmas[:-1].tolist()]
        predicted = [denoiser.predictions(step, denoiser.guidance(step)) for step in steps]
        if not any(predicted):
            raise ValueError(
                f"zero_init leaves no step of section {section.index} to predict anything in; lower it, or take more steps."
            )
        for step in steps:
            denoiser.attention(step)
            check_claims(techniques, section, step)
