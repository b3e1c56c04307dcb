"""Which sections of a clip are examples, and of what: the picture has to show what its prompt says, from a section's border on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from ...samplers.conditioning import Prompt
from ...samplers.context.indices import Direction
from ...samplers.context.plan import FPS, Section, direction_of, plan_sections
from ...samplers.timeline.assignment import assign_prompts
from ...samplers.timeline.syntaxes.spans import PromptSpan
from ..shares import AFTER, REAL, SAME

ROUNDING = 1e-6  # of a frame, in times that were written in decimals


@dataclass(frozen=True)
class LabelledSection:
    """A section of a take that becomes an example.

    number: counts the sections of the take in time from 0.
    kind: `real` where the prompt changes at the section, `after` where what is remembered holds the change, `same` else.
    caption: the prompt of the section alone.
    """

    number: int
    kind: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Take:
    """A part of a clip that begins so that one change of the prompt falls on the border of two sections.

    first: its first frame in the clip at 30 frames a second, which is its start image.
    sections: how many whole sections follow the start image.
    window: latent frames of a section.
    labelled: those of its sections that are examples.
    left_out: how many of its sections are none, because a change falls inside of them or another take has them.
    """

    first: int
    sections: int
    window: int
    labelled: tuple[LabelledSection, ...]
    left_out: int

    @property
    def frames(self) -> int:
        """Its length in frames: the start image, and four for every latent frame."""
        return 4 * self.window * self.sections + 1


def first_new_frame(seconds: float) -> int:
    """The first frame at 30 frames a second that is shown at `seconds` or later."""
    return ceil(seconds * FPS - ROUNDING)


def takes_of(spans: Sequence[PromptSpan], frames: int, layout: str, window: int) -> list[Take]:
    """The takes of a clip of `frames` frames at 30 a second: one for each change of its prompt, or one without any.

    A take without a single example is left out. Sham switches are none: what is trained knows no prompt before.
    Raises ValueError for an unknown layout.
    """
    changes = [span for span in spans[1:] if not span.sham]
    prompts = [spans[0], *changes]
    events = [first_new_frame(span.start) for span in changes]
    numbers = range(1, len(prompts)) if changes else range(1)
    takes = [_take(prompts, events, number, frames, layout=layout, window=window) for number in numbers]
    return [take for take in takes if take.labelled]


def _take(
    prompts: Sequence[PromptSpan],
    events: Sequence[int],
    number: int,
    frames: int,
    *,
    layout: str,
    window: int,
) -> Take:
    """The take in which the change to prompt `number` falls on a border; 0 stands for no change."""
    length = 4 * window
    first = (events[number - 1] - 1) % length if number else 0
    count = max((frames - first - 1) // length, 0)
    placed = [event - first for event in events]
    labelled = _labelled(prompts, placed, number, count, layout=layout, window=window) if count else []
    return Take(
        first=first, sections=count, window=window, labelled=tuple(labelled), left_out=count - len(labelled)
    )


def _labelled(
    prompts: Sequence[PromptSpan],
    events: Sequence[int],
    number: int,
    count: int,
    *,
    layout: str,
    window: int,
) -> list[LabelledSection]:
    """The examples of a take, in time; `events` are the frames at which the prompts after the first begin."""
    starts = [0, *events]
    timed = [Prompt(start=start / FPS, text=span.text) for start, span in zip(starts, prompts)]
    planned = assign_prompts(plan_sections(layout, count, window), timed)
    forward = direction_of(layout) is Direction.FORWARD
    places = {id(prompt): place for place, prompt in enumerate(timed)}
    last = len(prompts) - 1
    ends = min(1, last) if forward else last  # the take that has what is generated before any change
    labelled = []
    for section in sorted(planned, key=lambda section: section.latents):
        latest = _latest_change(section, places[id(section.prompt)], forward)
        if not _is_cut_through(section, events) and number == (ends if latest is None else latest):
            labelled.append(LabelledSection(_number(section), _kind(section), section.prompt.text))
    return labelled


def _number(section: Section) -> int:
    """How many sections lie before a section in time; the start image fills the first latent frame."""
    first, end = section.latents
    return (first - 1) // (end - first)


def _latest_change(section: Section, place: int, forward: bool) -> int | None:
    """The number of the prompt that begins at the latest change, as the video is generated; None before any."""
    if section.since_switch is None:
        return None
    return place if forward else place + 1


def _kind(section: Section) -> str:
    if section.since_switch is None:
        return SAME
    return AFTER if section.since_switch else REAL


def _is_cut_through(section: Section, events: Sequence[int]) -> bool:
    """Whether a change falls inside a section, so that no one prompt says what all of it shows."""
    first, end = section.frames
    return any(first < event < end for event in events)
