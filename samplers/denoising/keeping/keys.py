"""What a finished section depends on. Sections with equal parts are equal."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ...conditioning import TextConditioning
from ...context.anchors import token_mixture
from ...context.history import History
from ...context.plan import Section
from ...settings import SampleInputs, SampleSettings
from ...store.environment import environment
from ...store.models import model_parts
from ...techniques.base import Technique
from ...techniques.schedule.step_cache import StepCache
from ...techniques.wiring import OPTION
from ..drivers import Driver
from ..run import Run, SectionInput, section_texts
from ..schedules import section_guidance


def run_parts(run: Run) -> dict[str, Any]:
    """What all sections of a run depend on, by name. Raises NotKeyed for a model with code that is not known."""
    return {
        "environment": environment(run.driver.device),
        "model": model_parts(run.driver.model, without=OPTION),
        "solver": run.solver,
        "settings": settings_part(run.settings),
    }


def section_parts(run: Run, given: SectionInput, history: History, inputs: SampleInputs) -> dict[str, Any]:
    """What a section depends on beside that, before techniques prepare it; not what techniques are, as `technique_part`.

    The sections before it count by what they have left in `history`.
    """
    section = given.section
    acting = acting_techniques(run.driver, section)
    return {
        "memory": history.memory,
        "context": given.context,
        "tokens": token_mixture(section, inputs, run.settings),
        "noise": given.noise,
        "initial": given.initial,
        "seed": given.seed,
        "schedule": run.schedules[section.index],
        "guidance": section_guidance(section, run.settings.guidance),
        "texts": texts_part(run, section),
        "place": place_part(section) if acting else None,
        "video": history.video() if any(map(_prepares, acting)) else None,
    }


def settings_part(settings: SampleSettings) -> dict[str, Any]:
    """The settings of a run that no part of a section shows."""
    return {"rounding": settings.upstream_rounding, "measured": settings.measure_memory}


def texts_part(run: Run, section: Section) -> dict[str, TextConditioning]:
    """The texts of a section's predictions, but for those of techniques, which belong to these."""
    texts = section_texts(run.driver, section, run.negative)
    theirs: set[str] = {key for technique in run.driver.techniques for key in technique.texts()}
    theirs |= {concept.name for technique in run.driver.techniques for concept in technique.concepts(section)}
    return {name: text for name, text in texts.items() if name not in theirs}


def place_part(section: Section) -> dict[str, Any]:
    """Where a section lies, as far as techniques may ask; not the length of its shot, which they do not read."""
    names = ("index", "latents", "frames", "padding", "change", "since_switch", "departure", "blend")
    more = ("cut", "closes_loop", "goes_on", "event")
    return {**{name: getattr(section, name) for name in (*names, *more)}, "shot": section.shot.number}


def acting_techniques(driver: Driver, section: Section) -> list[Technique]:
    """The techniques that do something in a section; the others leave it bit for bit as it is without them.

    A step cache always does: of a section that it leaves as it is it records what later ones go by.
    """
    return [
        technique
        for technique in driver.techniques
        if technique.amount(section) or (isinstance(technique, StepCache) and technique.threshold > 0)
    ]


def technique_part(driver: Driver, technique: Technique) -> list[Any]:
    """A technique with its settings and the contents of what is attached for it."""
    attached = technique.attachment_names()
    values = {each.name: getattr(technique, each.name) for each in fields(technique)}
    held = {name: driver.attachments.get(values.pop(name)) for name in attached}
    return [type(technique), values, held]


def _prepares(technique: Technique) -> bool:
    """Whether a technique gets the history before a section."""
    return type(technique).before_section is not Technique.before_section
