"""Calls the techniques for every step of a run beforehand, so that what cannot work together is refused at once."""

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
            section.departure,
            section.previous is None,
            section.text_changed,
            section.event,
            schedule.shift,
            tuple(schedule.sigmas.tolist()),
        )
        if alike in asked:
            continue
        asked.add(alike)
        _rehearse_section(techniques, section, schedule, guidance)


def _rehearse_section(
    techniques: Sequence[Technique], section: Section, schedule: Schedule, guidance: Guidance
) -> None:
    denoiser = planned_denoiser(techniques, section, schedule, guidance)
    if not denoiser.planned_evaluations(schedule):
        raise ValueError(
            f"zero_init leaves no step of section {section.index + 1} to predict anything in; lower it, or take more steps."
        )
    for sigma in schedule.sigmas[:-1].tolist():
        step = denoiser.step(sigma)
        denoiser.attention(step)
        check_claims(techniques, section, step)


def planned_denoiser(
    techniques: Sequence[Technique], section: Section, schedule: Schedule, guidance: Guidance
) -> SectionDenoiser:
    """The denoiser of a section without tensors: it says what its steps would do, and evaluates nothing."""
    return SectionDenoiser(
        section=section,
        context=Context(indices=section.indices),
        guidance=guidance,
        shift=schedule.shift,
        techniques=techniques,
    )
