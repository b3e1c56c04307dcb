"""What a technique is, and how the sampler asks a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from ...models.config import FramePackConfig
from ...models.gate import AttentionPolicy, block_set, check_blocks
from ..guidance import Guidance
from ..plan import Section

APPLY_TO = ("transition", "all")
OPTION = "framepack_techniques"


@dataclass(frozen=True)
class Step:
    """One evaluation of the model: its noise level sigma, and t, the same as unshifted progress from 1 to 0."""

    sigma: float
    t: float


@dataclass(frozen=True)
class Technique:
    """A remedy made of scalars and strings alone; it does nothing until the sampler calls one of its hooks.

    With `apply_to` transition it acts on the first `sections` sections generated after a switch, scaled by the
    switch's change; with all it acts on every section in full. Raises ValueError for values that it cannot use.
    """

    apply_to: str = "transition"
    sections: int = 1

    def __post_init__(self) -> None:
        if self.apply_to not in APPLY_TO:
            raise ValueError(f"apply_to is {self.apply_to!r}; choose one of {', '.join(APPLY_TO)}.")
        if self.sections < 1:
            raise ValueError(f"sections is {self.sections}; give at least 1.")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{field.name} is {value}; give a finite number.")

    def amount(self, section: Section) -> float:
        """How much of the technique a section gets, from 0 (none) to 1."""
        if self.apply_to == "all":
            return 1.0
        if section.since_switch is None or section.since_switch >= self.sections:
            return 0.0
        return section.change

    def guidance(self, section: Section, step: Step, guidance: Guidance) -> Guidance:
        """Scales of this step, from those that the techniques before left."""
        return guidance

    def attention(self, section: Section, step: Step, policy: AttentionPolicy) -> AttentionPolicy:
        """How this step attends, from what the techniques before left."""
        return policy


def techniques_of(model_options: dict[str, Any]) -> tuple[Technique, ...]:
    """The techniques on a MODEL in wired order."""
    return tuple(model_options.get("transformer_options", {}).get(OPTION, ()))


def with_technique(model: Any, technique: Technique) -> Any:
    """A clone of a MODEL with one technique more. Raises ValueError for another model, or blocks that it does not have."""
    config = getattr(getattr(model.model, "diffusion_model", None), "config", None)
    if not isinstance(config, FramePackConfig):
        raise ValueError(
            f"model is a {type(model.model).__name__}, not a FramePack model; load the file with FramePack "
            "Model Loader, and wire technique nodes after it."
        )
    check_blocks(block_set(getattr(technique, "blocks", "")), config)
    clone = model.clone()
    options = clone.model_options["transformer_options"]
    options[OPTION] = [*options.get(OPTION, ()), technique]
    return clone


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


NEUTRAL = AttentionPolicy()


def check_window(t_start: float, t_end: float) -> None:
    """Raises ValueError when a window of progress is not 1 >= t_start > t_end >= 0."""
    if not 1 >= t_start > t_end >= 0:
        raise ValueError(
            f"the window runs from t {t_start} to {t_end}; t counts down from 1 (noise) to 0 (clean), so give "
            "1 >= t_start > t_end >= 0."
        )


def in_window(step: Step, t_start: float, t_end: float) -> bool:
    """Whether a step's progress lies in [t_end, t_start]."""
    return t_end <= step.t <= t_start


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError when a value is not in [low, high]."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; give a value from {low:g} to {high:g}.")
