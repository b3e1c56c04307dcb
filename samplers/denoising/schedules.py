"""The noise levels and the guidance of a run and of each of its sections, before techniques change single steps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..conditioning import TextConditioning
from ..context.plan import Section
from ..guidance import Guidance
from ..settings import SampleSettings
from ..sigmas import check_sigmas, flow_sigmas, flux_shift
from ..techniques.base import Schedule, Technique
from ..techniques.chain import schedule_at

logger = logging.getLogger(__name__)

# A schedule that starts below this keeps some of what it starts from.
PURE_NOISE = 0.999


def run_schedule(
    shape: Sequence[int], settings: SampleSettings, sigmas: Tensor | None, *, has_initial: bool = False
) -> Schedule:
    """The schedule of a run for sections of `shape` [B, 16, T, H, W] before techniques change it.

    `sigmas` replaces steps, shift and denoise: its first value is the strength. Raises ValueError when strength and
    initial latent contradict each other.
    """
    frames, height, width = shape[-3:]
    shift = settings.shift or flux_shift(frames * height * width // 4)
    if sigmas is None:
        used = flow_sigmas(settings.steps, shift) * settings.denoise
    elif settings.denoise == 1:
        used = check_sigmas(sigmas)
    else:
        raise ValueError(
            f"denoise is {settings.denoise:g} beside a SIGMAS input, whose first value already is the strength; "
            "set denoise to 1 or disconnect sigmas."
        )
    _check_strength(float(used[0]), has_initial=has_initial)
    return Schedule(used, shift)


def _check_strength(strength: float, *, has_initial: bool) -> None:
    """Raises ValueError where an initial latent would be ignored, or where one is missing."""
    if has_initial and strength > PURE_NOISE:
        raise ValueError(
            "initial_latent is connected but the schedule starts from pure noise, which ignores it; lower "
            "denoise (for example to 0.6) or disconnect it."
        )
    if not has_initial and strength < PURE_NOISE:
        raise ValueError(
            f"the schedule starts at {strength:.3g} instead of 1 without an initial_latent to start from; connect "
            "one, or set denoise to 1 and give a schedule that starts at 1."
        )


def section_schedules(
    techniques: Sequence[Technique], sections: Sequence[Section], schedule: Schedule, *, fixed: bool
) -> dict[int, Schedule]:
    """The schedule of every section by its index, in the order of `sections`; with `fixed` no technique changes it."""
    wanted = {section.index: schedule_at(techniques, section, schedule) for section in sections}
    if fixed and any(changed is not schedule for changed in wanted.values()):
        logger.warning("A SIGMAS input is connected: Transition Sigmas leaves the schedule as it is.")
        return dict.fromkeys(wanted, schedule)
    return wanted


def section_guidance(section: Section, guidance: Guidance) -> Guidance:
    """A section's scales before techniques change them: FluxGuidance on its prompt wins over the sampler's input."""
    own = None if section.prompt.conditioning is None else section.prompt.conditioning.guidance
    return guidance if own is None else replace(guidance, distilled=own)


def warn_of_negative_guidance(
    negative: TextConditioning, sections: Sequence[Section], guidance: Guidance
) -> None:
    """Say that FluxGuidance on the negative prompt is not read, where it differs from what the sections use."""
    if negative.guidance is None:
        return
    used = {section_guidance(section, guidance).distilled for section in sections}
    if used != {negative.guidance}:
        logger.warning(
            "negative carries guidance %g, which is not read: every prediction of a section uses that of its prompt.",
            negative.guidance,
        )
