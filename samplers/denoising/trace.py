"""The record of a run: plain data that goes to JSON, for evaluators and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from ..conditioning import Anchor
from ..context.concepts import concept_maps
from ..context.indices import SectionIndices
from ..context.plan import Section
from ..settings import SampleSettings
from ..techniques.base import Schedule, Step, Technique
from .denoiser import SectionDenoiser

TRACE_SCHEMA = "framepack-transitions/trace/1"
# What a section's record cannot say without its tensors, or before it is sampled.
MEASURED = ("indices", "tokens", "evaluations", "seconds", "cache", "memory", "concepts", "before")
INDEX_TIERS = ("target", "clean", "clean_2x", "clean_4x")


def new_trace(
    settings: SampleSettings, schedule: Schedule, techniques: Sequence[Technique], solver: Any
) -> dict[str, Any]:
    """A trace without sections: the run's scalars with the shift, steps and solver that were really used, and techniques.

    `solver` is a name of ours or a SAMPLER of the host, recorded by the name of its function.
    """
    used = {
        "shift": schedule.shift,
        "steps": schedule.steps,
        "solver": solver_name(solver),
        "seeds": list(settings.seeds),
    }
    return {
        "schema": TRACE_SCHEMA,
        "sections": [],
        "settings": {**asdict(settings), **used},
        "techniques": [{"name": type(technique).__name__, **asdict(technique)} for technique in techniques],
    }


def solver_name(solver: Any) -> str:
    """The name of one of our solvers, or of the function in a SAMPLER of the host."""
    if isinstance(solver, str):
        return solver
    return getattr(getattr(solver, "sampler_function", None), "__name__", type(solver).__name__)


def section_record(
    section: Section, denoiser: SectionDenoiser, schedule: Tensor, seconds: float
) -> dict[str, Any]:
    """A section as plain data: its place, prompt and anchor, and sigma, t, guidance and attention of every step.

    `retried` says that it, or one before it, did not fit in memory and was sampled once more; `reused` is false: the section
    was sampled. `tokens` counts the packed tokens of those segments of which a technique leaves some out of all steps.
    `memory` is left out where it was not measured, `cache` where there is no step cache, `concepts` where none was looked for.
    """
    found = {
        "cache": denoiser.cache and denoiser.cache.describe(),
        "memory": denoiser.memory(),
        "concepts": concept_maps(denoiser.context) or None,
    }
    return {
        **_plan_record(section, denoiser.context.indices),
        **_step_records(denoiser, [denoiser.step(sigma) for sigma in schedule.tolist()]),
        "evaluations": denoiser.evaluations,
        "retried": denoiser.attention_rows is not None,
        "seconds": seconds,
        "reused": False,
        **{name: record for name, record in found.items() if record is not None},
    }


def measured_part(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a section's record that is kept with its latents; the rest follows from the run that takes it over."""
    return {name: record[name] for name in MEASURED if name in record}


def _plan_record(section: Section, indices: SectionIndices) -> dict[str, Any]:
    """Where a section lies and what it was asked to show."""
    anchor = (section.anchor or Anchor()).describe()
    return {
        "index": section.index,
        "latents": list(section.latents),
        "frames": list(section.frames),
        "indices": {name: list(getattr(indices, name)) for name in INDEX_TIERS},
        "prompt": section.prompt.text,
        "state": section.prompt.state,
        "change": section.change,
        "since_switch": section.since_switch,
        "shot": section.shot.number,
        "cut": section.cut,
        "recalls": None if section.recalls is None else section.recalls.start,
        "anchor": {**anchor, "vision_strength": section.prompt.vision_strength},
        "blend": section.blend,
        "blend_from": None if section.blend_from is None else section.blend_from.text,
    }


def _step_records(denoiser: SectionDenoiser, steps: Sequence[Step]) -> dict[str, Any]:
    """Lists over the noise levels of `steps`, the last of which, 0, is no step."""
    taken = steps[:-1]
    guidances = [denoiser.guidance(step) for step in taken]
    policies = map(denoiser.attention, taken)
    return {
        "sigmas": [step.sigma for step in steps],
        "t": [step.t for step in steps],
        "guidance": [asdict(guidance) for guidance in guidances],
        "attention": [None if policy is None else policy.describe() for policy in policies],
        "tokens": {name: kept.shape[-1] for name, kept in denoiser.context.tokens.items()},
        "predictions": [
            [prediction.name for prediction in denoiser.predictions(step, guidance)]
            for step, guidance in zip(taken, guidances)
        ],
        "techniques": _by_value([denoiser.describe(step) for step in taken]),
    }


def _by_value(steps: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, list[float | None]]]:
    """The numbers that every technique records, each as one list over the steps."""
    return [
        {name: [values.get(name) for values in own] for name in dict.fromkeys(n for v in own for n in v)}
        for own in zip(*steps)
    ]
