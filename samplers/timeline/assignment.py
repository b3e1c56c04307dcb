"""Which prompt each section of a video gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from ..conditioning import Anchor, Prompt
from ..context.plan import FPS, PlannedSection, Section
from ..context.shots import split_shots
from .recall import recalled_prompts


def assign_prompts(
    sections: Sequence[PlannedSection],
    prompts: Sequence[Prompt],
    *,
    past_latent_frames: int = 0,
) -> list[Section]:
    """Give every section the prompt that holds at its middle, so that a switch moves to the nearest section border.

    Where a plan has the `frame_borders` of its prompts, the nearest border of those that land on a frame is there.

    `sections` are all sections of a video in the order of generation. The starts of `prompts` rise; the first prompt
    also holds before its start. Starts count from the end of the `past_latent_frames` that the video continues.
    """
    begin = 4 * max(past_latent_frames - 1, 0)
    held = [_prompt_at(prompts, (sum(section.frames) / 2 - begin) / FPS) for section in sections]
    planned = split_shots(sections, [_shot_number(prompts, prompt) for prompt in held])
    recalled = recalled_prompts(sorted(dict.fromkeys(held), key=lambda prompt: prompt.start))
    anchors = _anchors(prompts, recalled)
    placed = [
        section.with_prompt(
            prompt,
            anchor=anchors[prompt],
            recalls=recalled.get(prompt) if section.cut else None,
            departure=_departure(recalled.get(prompt, prompt), prompts[0], anchors[prompt]),
        )
        for section, prompt in zip(planned, held)
    ]
    assigned: list[Section] = []
    for section in _blended(placed):
        assigned.append(_with_latest_switch(section, assigned[-1]) if assigned else section)
    return assigned


def frame_borders(prompts: Sequence[Prompt], *, past_latent_frames: int = 0) -> tuple[int, ...]:
    """The latent frames at which sections must begin for prompts that land on their own frame: the nearest to each start.

    Starts count as in assign_prompts. A latent frame L after the first one shows the pixel frames from 4 L - 3 on.
    """
    begin = 4 * max(past_latent_frames - 1, 0)
    landing = (prompt for prompt in prompts[1:] if prompt.landing == "frame")
    return tuple(round((begin + prompt.start * FPS + 3) / 4) for prompt in landing)


def _prompt_at(prompts: Sequence[Prompt], seconds: float) -> Prompt:
    return ([prompt for prompt in prompts if prompt.start <= seconds] or prompts[:1])[-1]


def _shot_number(prompts: Sequence[Prompt], prompt: Prompt) -> int:
    """Number of cuts up to a prompt; the first prompt cannot be a cut."""
    return sum(other.cut for other in prompts[1:] if other.start <= prompt.start)


def _anchors(prompts: Sequence[Prompt], recalled: Mapping[Prompt, Prompt]) -> dict[Prompt, Anchor | None]:
    """The anchor that holds with each prompt, a recalled scene's own with those that return to it.

    None as long as no prompt has replaced the run's own.
    """
    anchors: dict[Prompt, Anchor] = {}
    runs_own = anchor = Anchor()
    for prompt in prompts:
        anchor = anchors[recalled[prompt]] if prompt in recalled else anchor.after(prompt)
        anchors[prompt] = anchor
    return {prompt: None if anchor is runs_own else anchor for prompt, anchor in anchors.items()}


def _departure(prompt: Prompt, first: Prompt, anchor: Anchor | None) -> float:
    """How much of the start frame's scene a prompt changes, or that to whose scene it returns (see Section.departure)."""
    replaced = anchor is not None and anchor.start_from is not None
    return 0.0 if prompt is first or replaced else prompt.change


def _blended(sections: Sequence[Section]) -> list[Section]:
    """The sections, the first `blend` of each prompt, in time, with equal steps from the prompt before to their own."""
    in_time = sorted(sections, key=lambda section: section.latents)
    runs = [list(run) for _, run in groupby(in_time, key=lambda section: id(section.prompt))]
    blended: dict[int, Section] = {}
    for before, run in pairwise(runs):
        old, new = before[-1], run[0]
        steps = new.prompt.blend if old.shot == new.shot else 0
        for step, section in enumerate(run[:steps], 1):
            blended[section.index] = replace(section, blend=step / (steps + 1), blend_from=old.prompt)
    return [blended.get(section.index, section) for section in sections]


def _with_latest_switch(section: Section, before: Section) -> Section:
    """The section with the fields that describe the latest switch, from the section generated before it.

    The change is that of the prompt that comes later in the video, in either direction of generation.
    """
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
