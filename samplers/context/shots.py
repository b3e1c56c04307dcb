"""Which shot each section of a plan belongs to, and what that changes of its place and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .indices import HISTORY_1X, Direction, original_paddings
from .plan import PlannedSection, Shot, remembered_frames, section_indices


def split_shots(sections: Sequence[PlannedSection], numbers: Sequence[int]) -> list[PlannedSection]:
    """Give every section of a whole plan to the shot with its number; numbers rise in time.

    In the original layout each shot counts its distances to a start frame of its own, as if it were the whole video.
    """
    members: dict[int, list[PlannedSection]] = {}
    for section, number in zip(sections, numbers):
        members.setdefault(number, []).append(section)
    if len(members) == 1 and 0 in members:
        return list(sections)
    if sections[0].shot.loop_from is not None:
        raise ValueError(
            "loop is on, but the timeline has a cut; a loop is one shot, so remove the cut or turn loop off."
        )
    first, end = sections[0].shot.latents
    starts: list[int | None] = [*sorted(members), None]
    shots: dict[int, Shot] = {}
    for number, following in zip(sorted(members), starts[1:]):
        begin = first if number == 0 else min(section.latents[0] for section in members[number])
        stop = end if following is None else min(section.latents[0] for section in members[following])
        shots[number] = Shot(number, (begin, stop), following is None, padding=sections[0].shot.padding)
    whole = max(section.window for section in sections)
    placed = {
        section.index: _in_shot(section, shots[number], padding, whole)
        for number, group in members.items()
        for section, padding in zip(group, original_paddings(len(group), sections[0].shot.padding))
    }
    return [placed[section.index] for section in sections]


def _in_shot(section: PlannedSection, shot: Shot, padding: float, whole: int) -> PlannedSection:
    """The section with its place in a shot: how far the start frame is away, and how much there is to remember."""
    forward = section.direction is Direction.FORWARD
    remembered = max(remembered_frames(section.latents, shot, forward), HISTORY_1X)
    indices = section_indices(
        section.direction,
        length=section.window,
        padding=padding,
        recent=min(len(section.indices.clean) - 1, remembered),
        whole=whole,
    )
    return replace(section, shot=shot, padding=0 if forward else padding, indices=indices)
