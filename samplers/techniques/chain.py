"""What several techniques together make of a section or a step: each takes what those before it left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ...models.attention.policy import AttentionPolicy
from ..context.history import Context
from ..context.plan import Section
from ..guidance import Guidance
from ..sigmas import check_sigmas
from .base import Concept, Difference, Prediction, Schedule, Step, Technique

NEUTRAL = AttentionPolicy()


def schedule_at(techniques: Sequence[Technique], section: Section, schedule: Schedule) -> Schedule:
    """A section's schedule as all techniques leave it. Raises ValueError when one of them breaks it."""
    changed = schedule
    for technique in techniques:
        changed = technique.schedule(section, changed)
    if changed is schedule:
        return schedule
    sigmas = check_sigmas(changed.sigmas)
    if not torch.isclose(sigmas[0], schedule.sigmas[0]):
        raise ValueError(f"a schedule starts at {sigmas[0]:.3g} instead of {schedule.sigmas[0]:.3g}.")
    return replace(changed, sigmas=sigmas)


def context_of(
    techniques: Sequence[Technique], section: Section, context: Context, attachments: Mapping[str, Any]
) -> Context:
    """A section's packed past as all techniques leave it."""
    for technique in techniques:
        context = technique.context(section, context, attachments)
    return context


def check_claims(techniques: Sequence[Technique], section: Section, step: Step) -> None:
    """Raises ValueError when two techniques take the same part of the past apart in a step."""
    taken: set[str] = set()
    for technique in techniques:
        claimed = technique.claims(section, step)
        if twice := taken & claimed:
            raise ValueError(
                f"two techniques act on the same part of the past ({min(twice)}) in section {section.index + 1}; keep one of "
                "them, or let their windows touch without overlapping."
            )
        taken |= claimed


def context_at(
    techniques: Sequence[Technique],
    section: Section,
    step: Step,
    *,
    context: Context,
    attachments: Mapping[str, Any],
) -> Context:
    """A step's packed past as all techniques leave it. Raises ValueError when two claim the same part of it."""
    check_claims(techniques, section, step)
    for technique in techniques:
        context = technique.context_at(section, step, context, attachments)
    return context


def predictions_at(techniques: Sequence[Technique], section: Section, step: Step) -> list[Prediction]:
    """What all techniques together need predicted beside the guided text, each once."""
    wanted = (p for technique in techniques for p in technique.predictions(section, step))
    return list(dict.fromkeys(wanted))


def concepts_at(techniques: Sequence[Technique], section: Section, step: Step) -> list[Concept | Difference]:
    """What must have been looked for when a step is evaluated, each once.

    Concepts are looked for at a section's first evaluation. A difference is looked for where the window of the first technique
    begins that asks for it: the later, the less noise the two predictions are made from.
    """
    wanted = (
        concept
        for technique in techniques
        for concept in technique.concepts(section)
        if isinstance(concept, Concept) or technique.is_inside(step)
    )
    return list(dict.fromkeys(wanted))


def guidance_at(
    techniques: Sequence[Technique], section: Section, step: Step, guidance: Guidance
) -> Guidance:
    """The sampler's guidance as all techniques leave it."""
    for technique in techniques:
        guidance = technique.guidance(section, step, guidance)
    return guidance


def attention_at(techniques: Sequence[Technique], section: Section, step: Step) -> AttentionPolicy | None:
    """How all techniques together want a step to attend; None when none of them changes anything."""
    policy = NEUTRAL
    for technique in techniques:
        policy = technique.attention(section, step, policy)
    return None if policy is NEUTRAL else policy
