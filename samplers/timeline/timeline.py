"""Prompts over time, and which of them each section gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Any

from ..conditioning import Anchor, Prompt
from ..context.plan import FPS, PlannedSection, Section, split_shots


@dataclass(frozen=True, eq=False)
class TimelineEntry:
    """A prompt that holds from `start` seconds on. `conditioning` is a ComfyUI CONDITIONING.

    `change` in [0, 1] says how much the scene is meant to change when this entry takes over; `state` describes what
    can be seen afterwards, for evaluators ("" = the prompt says it). `cut` begins a new shot, whose sections remember
    nothing before it; `blend` is the number of sections on which the text moves from the old one to this one.
    `start_latent` (a LATENT) and `clip_vision_output` replace the start frame and the image tokens from here on, and
    `vision_strength` multiplies the tokens while this entry holds.
    """

    start: float
    prompt: str
    conditioning: Any
    change: float = 1.0
    state: str = ""
    cut: bool = False
    blend: int = 0
    start_latent: Any = None
    clip_vision_output: Any = None
    vision_strength: float = 1.0

    def __post_init__(self) -> None:
        if self.cut and self.start <= 0:
            raise ValueError(
                f"the timeline entry at {self.start:g} s is a cut, but the video only begins there; start it later, or turn "
                "cut off."
            )
        if self.cut and self.blend:
            raise ValueError(
                f"the timeline entry at {self.start:g} s is a cut and blends over {self.blend} sections; a cut leaves "
                "nothing to blend with, so turn cut off or set blend to 0."
            )
        if self.blend < 0:
            raise ValueError(
                f"the timeline entry at {self.start:g} s has a blend of {self.blend}; give 0 or more."
            )
        if not 0 <= self.vision_strength < inf:
            raise ValueError(
                f"the timeline entry at {self.start:g} s has a vision_strength of {self.vision_strength}; give 0 or more."
            )


@dataclass(frozen=True, eq=False)
class Timeline:
    """Entries in rising order of their start."""

    entries: tuple[TimelineEntry, ...]

    def __post_init__(self) -> None:
        starts = [entry.start for entry in self.entries]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise ValueError(
                f"timeline entries start at {starts} s; each must start later than the one before it."
            )
        if any(start < 0 for start in starts):
            raise ValueError(f"timeline entries start at {starts} s; no entry can start before 0.")


def assign_prompts(
    sections: Sequence[PlannedSection],
    prompts: Sequence[Prompt],
    fps: float = FPS,
    *,
    past_latent_frames: int = 0,
) -> list[Section]:
    """Give every section the prompt in force at its middle, so that a switch lands on the nearest section border.

    `sections` are a whole plan, `prompts` rise in start; the first also holds before its start. Times count from the
    end of the `past_latent_frames` of a video that the run continues.
    """
    begin = 4 * max(past_latent_frames - 1, 0)
    held = [_in_force(prompts, (sum(section.frames) / 2 - begin) / fps) for section in sections]
    planned = split_shots(sections, [_shot_number(prompts, prompt) for prompt in held])
    anchors = _anchors(prompts)
    placed = [section.with_prompt(prompt, anchor=anchors[prompt]) for section, prompt in zip(planned, held)]
    assigned: list[Section] = []
    for section in _blended(placed):
        assigned.append(_follow(section, assigned[-1] if assigned else None))
    return assigned


def _in_force(prompts: Sequence[Prompt], seconds: float) -> Prompt:
    return ([prompt for prompt in prompts if prompt.start <= seconds] or prompts[:1])[-1]


def _shot_number(prompts: Sequence[Prompt], prompt: Prompt) -> int:
    """How many cuts lie before a prompt; the first one cannot be one."""
    return sum(other.cut for other in prompts[1:] if other.start <= prompt.start)


def _anchors(prompts: Sequence[Prompt]) -> dict[Prompt, Anchor | None]:
    """The anchor that each prompt leaves or meets; None where it is the run's own."""
    anchors, anchor = {}, RUNS_OWN
    for prompt in prompts:
        anchor = anchor.after(prompt)
        anchors[prompt] = None if anchor is RUNS_OWN else anchor
    return anchors


def _blended(sections: Sequence[Section]) -> list[Section]:
    """The first `blend` sections of a prompt, in time, in equal steps between the prompt before it and its own."""
    weights: dict[int, tuple[float, Prompt]] = {}
    before: Section | None = None
    old, place = None, 0
    for section in sorted(sections, key=lambda section: section.latents):
        if before is None or section.prompt is not before.prompt:
            same_shot = before is not None and before.shot == section.shot
            old, place = (before.prompt if same_shot else None), 0
        place += 1
        if old is not None and place <= section.prompt.blend:
            weights[section.index] = place / (section.prompt.blend + 1), old
        before = section
    return [
        replace(section, **dict(zip(("blend", "blend_from"), weights.get(section.index, ()))))
        for section in sections
    ]


def _follow(section: Section, before: Section | None) -> Section:
    """Carry the memory of the latest switch from the section generated before."""
    if before is None:
        return section
    later = max(section.prompt, before.prompt, key=lambda prompt: prompt.start)
    if section.shot != before.shot:
        return replace(section, change=later.change)
    if section.prompt is not before.prompt:
        return replace(section, previous=before.prompt, change=later.change, since_switch=0)
    if before.since_switch is None:
        return replace(section, change=before.change)
    return replace(
        section, previous=before.previous, change=before.change, since_switch=before.since_switch + 1
    )


RUNS_OWN = Anchor()
