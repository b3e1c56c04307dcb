"""Prompts over time, and which of them each section gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Sequence

from .conditioning import Prompt
from .plan import FPS, Section


@dataclass(frozen=True, eq=False)
class TimelineEntry:
    """A prompt that holds from `start` seconds on. `conditioning` is a ComfyUI CONDITIONING.

    `change` in [0, 1] says how much the scene is meant to change when this entry takes over; `state` describes what
    can be seen afterwards, for evaluators ("" = the prompt says it).
    """

    start: float
    prompt: str
    conditioning: Any
    change: float = 1.0
    state: str = ""


@dataclass(frozen=True, eq=False)
class Timeline:
    """Entries in rising order of their start."""

    entries: tuple[TimelineEntry, ...]

    def __post_init__(self) -> None:
        starts = [entry.start for entry in self.entries]
        if any(later <= earlier for earlier, later in zip(starts, starts[1:])):
            raise ValueError(
                f"timeline entries start at {starts} s; each must start later than the one before it."
            )
        if any(start < 0 for start in starts):
            raise ValueError(f"timeline entries start at {starts} s; no entry can start before 0.")


def assign_prompts(sections: Sequence[Section], prompts: Sequence[Prompt], fps: float = FPS) -> list[Section]:
    """Give every section the prompt in force at its middle, so that a switch lands on the nearest section border.

    `prompts` rise in start; the first also holds before its start.
    """
    assigned: list[Section] = []
    for section in sections:
        middle = (section.frames[0] + section.frames[1]) / 2 / fps
        prompt = [p for p in prompts if p.start <= middle][-1:] or [prompts[0]]
        assigned.append(_follow(replace(section, prompt=prompt[0]), assigned[-1] if assigned else None))
    return assigned


def _follow(section: Section, before: Section | None) -> Section:
    """Carry the memory of the latest switch from the section generated before."""
    if before is None:
        return section
    if section.prompt is not before.prompt:
        later = max(section.prompt, before.prompt, key=lambda prompt: prompt.start)
        return replace(section, previous=before.prompt, change=later.change, since_switch=0)
    if before.since_switch is None:
        return section
    return replace(
        section, previous=before.previous, change=before.change, since_switch=before.since_switch + 1
    )
