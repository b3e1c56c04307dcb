"""The trace that a run would leave, without running the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..context.plan import Section
from ..settings import SampleSettings
from ..techniques.base import Technique
from .rehearsal import planned_denoiser, rehearse
from .schedules import run_schedule, section_schedules
from .trace import new_trace, section_record


def preview_trace(
    techniques: Sequence[Technique],
    sections: Sequence[Section],
    settings: SampleSettings,
    *,
    size: tuple[int, int],
    sigmas: Tensor | None = None,
) -> dict[str, Any]:
    """A trace of sections that carry prompts but no tensors: schedules, guidance, attention and evaluations of every step.

    `size` (height, width) in latent pixels decides on the automatic shift; `sigmas` stand in for steps and shift as in
    sample_sections. `evaluations` are those that the steps will take; `seconds` are 0.
    """
    starts_low = sigmas is not None and float(sigmas.flatten()[:1].sum()) <= 0.999
    shape = (1, 1, settings.window, *size)
    schedule = run_schedule(shape, settings, sigmas, has_initial=starts_low)
    schedules = section_schedules(techniques, sections, schedule, fixed=sigmas is not None)
    rehearse(techniques, sections, schedules, settings.guidance)
    records = []
    for section in sections:
        own = schedules[section.index]
        denoiser = planned_denoiser(techniques, section, own, settings.guidance)
        record = section_record(section, denoiser, own.sigmas, 0.0)
        records.append({**record, "evaluations": denoiser.planned_evaluations(own)})
    trace = new_trace(settings, schedule, techniques, "")
    return {**trace, "sections": records}
