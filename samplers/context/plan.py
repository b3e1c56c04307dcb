"""Where each section lies in the video and which frame indices the model sees for it.

Source: lllyasviel/FramePack, `demo_gradio_f1.py` (f1) and `demo_gradio.py` (original).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..conditioning import Anchor, Prompt

FPS = 30.0
HISTORY_1X, HISTORY_2X, HISTORY_4X = 1, 2, 16
HISTORY = HISTORY_1X + HISTORY_2X + HISTORY_4X
MAX_WINDOW = 33


class Direction(Enum):
    """The order in which the sections of a video are generated, and so on which side of a window its memory lies."""

    FORWARD = "forward"
    """From the start of the video to its end; a section remembers the frames before it."""
    BACKWARD = "backward"
    """From the end of the video to its start; a section remembers the frames after it."""


# What users choose, and what workflows and traces hold: upstream's two demos, by the models that they run.
DIRECTIONS = {"f1": Direction.FORWARD, "original": Direction.BACKWARD}
LAYOUTS = tuple(DIRECTIONS)


def direction_of(layout: str) -> Direction:
    """The direction in which a layout generates. Raises ValueError for a name that is no layout's."""
    if layout not in DIRECTIONS:
        raise ValueError(f"layout is {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    return DIRECTIONS[layout]


@dataclass(frozen=True, kw_only=True)
class SectionIndices:
    """Where the frames of one section lie on the model's own time axis, in latent frames.

    target: the frames that are generated, the section's window.
    clean: the frames at full resolution: the start frame, then the remembered frame next to the window.
    clean_2x: the remembered frames that are compressed twofold.
    clean_4x: the remembered frames that are compressed fourfold.
    direction: FORWARD where the memory lies before the window, BACKWARD where it lies after it.
    """

    target: tuple[int, ...]
    clean: tuple[int, ...]
    clean_2x: tuple[int, ...]
    clean_4x: tuple[int, ...]
    direction: Direction


@dataclass(frozen=True)
class Shot:
    """What lies between two cuts: `number` counts in time from 0, `latents` is the range that its sections fill.

    `last` says that the video ends with it.
    """

    number: int
    latents: tuple[int, int]
    last: bool = True


@dataclass(frozen=True, kw_only=True)
class PlannedSection:
    """One window of a video before it has a prompt. Ranges are half open.

    index: place in the order of generation, from 0.
    latents: the range of the video's latent frames that the section fills.
    frames: the range of pixel frames that these decode to.
    padding: distance to the start frame in windows, where the video is generated backward; otherwise 0.
    indices: where the section and its memory lie on the model's time axis.
    shot: the stretch between two cuts that it belongs to; nothing is remembered from other shots.
    """

    index: int
    latents: tuple[int, int]
    frames: tuple[int, int]
    padding: int
    indices: SectionIndices
    shot: Shot

    @property
    def direction(self) -> Direction:
        """The order in which the video's sections are generated."""
        return self.indices.direction

    @property
    def cut(self) -> bool:
        """Whether the section is the first one, in time, of a shot that follows another one."""
        return self.shot.number > 0 and self.latents[0] == self.shot.latents[0]

    @property
    def goes_on(self) -> bool:
        """Whether it goes on from something: an earlier generated section of its shot, or a past video."""
        if self.direction is Direction.BACKWARD:
            return self.latents[1] < self.shot.latents[1]
        return self.index > 0 and self.latents[0] > 0 and not self.cut

    def with_prompt(self, prompt: Prompt, **changes: Any) -> Section:
        """The section under a prompt; `changes` are further fields of Section."""
        planned = {field.name: getattr(self, field.name) for field in fields(PlannedSection)}
        return Section(**{**planned, "prompt": prompt, **changes})


@dataclass(frozen=True, kw_only=True)
class Section(PlannedSection):
    """One window of a video with its prompt.

    prompt: what it shows.
    previous: the prompt before the latest switch, in the order of generation; None before any. In a video that is
        generated backward it is the later one in time. A cut is no switch.
    change: how much of the scene the latest switch changes, from 0 to 1.
    since_switch: how many sections were generated since that switch; None before any.
    anchor: the start frame and image tokens that replace the run's own; None for those.
    blend: the weight of the prompt's text, from 0 to 1; the rest is that of `blend_from`.
    blend_from: the prompt that the text moves away from; None where it does not blend.
    """

    prompt: Prompt
    previous: Prompt | None = None
    change: float = 0.0
    since_switch: int | None = None
    anchor: Anchor | None = None
    blend: float = 1.0
    blend_from: Prompt | None = None


def section_count(seconds: float, window: int, fps: float = FPS) -> int:
    """Number of sections nearest to `seconds` of video, at least one."""
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; give a length above 0, for example 5.0.")
    return max(round(seconds * fps / (4 * window)), 1)


def sections_for_latents(latent_frames: int, window: int) -> int:
    """Number of whole sections that hold at least `latent_frames` generated latent frames."""
    if latent_frames < 1:
        raise ValueError(f"latent_frames is {latent_frames}; give at least 1 generated latent frame.")
    return ceil(latent_frames / window)


def plan_sections(
    layout: str, count: int, window: int, *, keeps_start: bool = True, past_latent_frames: int = 0
) -> list[PlannedSection]:
    """Sections in the order of generation.

    `keeps_start` says that the start image is the first latent frame of the video; without an image it is not,
    and the video is one latent frame shorter. `past_latent_frames` of a video that the run continues come before the sections,
    instead of the start image; F1 then counts on from the sections that would have made them. Raises ValueError for an
    unknown layout, count or window.
    """
    direction = direction_of(layout)
    if not 1 <= window <= MAX_WINDOW:
        raise ValueError(
            f"window is {window}; FramePack windows lie between 1 and {MAX_WINDOW} latent frames (usual: 9)."
        )
    if count < 1:
        raise ValueError(f"{count} sections were asked for; give a length of at least one section.")
    offset = past_latent_frames or int(keeps_start)
    shot = Shot(0, (offset, offset + window * count))
    forward = direction is Direction.FORWARD
    paddings = [0] * count if forward else original_paddings(count)
    made = ceil(max(past_latent_frames - 1, 0) / window) if forward else 0
    sections = []
    for index, padding in enumerate(paddings):
        position = index if forward else count - 1 - index
        latents = (offset + window * position, offset + window * (position + 1))
        sections.append(
            PlannedSection(
                index=made + index,
                latents=latents,
                frames=pixel_frames(latents),
                padding=padding,
                indices=f1_indices(window) if forward else original_indices(window, padding),
                shot=shot,
            )
        )
    return sections


def split_shots(sections: Sequence[PlannedSection], numbers: Sequence[int]) -> list[PlannedSection]:
    """Give every section of a whole plan to the shot with its number; numbers rise in time.

    In the original layout each shot counts its distances to a start frame of its own, as if it were the whole video.
    """
    members: dict[int, list[PlannedSection]] = {}
    for section, number in zip(sections, numbers):
        members.setdefault(number, []).append(section)
    if len(members) == 1 and 0 in members:
        return list(sections)
    first, end = sections[0].shot.latents
    starts: list[int | None] = [*sorted(members), None]
    shots: dict[int, Shot] = {}
    for number, following in zip(sorted(members), starts[1:]):
        begin = first if number == 0 else min(section.latents[0] for section in members[number])
        stop = end if following is None else min(section.latents[0] for section in members[following])
        shots[number] = Shot(number, (begin, stop), following is None)
    placed = {
        section.index: replace(section, shot=shots[number], **_distance(section, padding))
        for number, group in members.items()
        for section, padding in zip(group, original_paddings(len(group)))
    }
    return [placed[section.index] for section in sections]


def _distance(section: PlannedSection, padding: int) -> Mapping[str, Any]:
    """The fields of a section that say how far its start frame is away; forward generation says nothing about that."""
    if section.direction is Direction.FORWARD:
        return {}
    window = section.latents[1] - section.latents[0]
    return {"padding": padding, "indices": original_indices(window, padding)}


def pixel_frames(latents: tuple[int, int]) -> tuple[int, int]:
    """Pixel frames that a half-open range of latent frames decodes to: latent 0 is one frame, every other is four."""
    first, last = latents
    return (0 if first == 0 else 4 * first - 3), 4 * last - 3


def f1_indices(window: int) -> SectionIndices:
    """F1 generates forward: [start, 16 at 4x, 2 at 2x, 1 at 1x, window]."""
    start, clean_4x, clean_2x, last, target = _split((1, HISTORY_4X, HISTORY_2X, HISTORY_1X, window))
    return SectionIndices(
        target=target,
        clean=start + last,
        clean_2x=clean_2x,
        clean_4x=clean_4x,
        direction=Direction.FORWARD,
    )


def original_indices(window: int, padding: int) -> SectionIndices:
    """The original layout generates backwards: [start, blank, window, 1 at 1x, 2 at 2x, 16 at 4x]."""
    start, _, target, last, clean_2x, clean_4x = _split(
        (1, padding * window, window, HISTORY_1X, HISTORY_2X, HISTORY_4X)
    )
    return SectionIndices(
        target=target,
        clean=start + last,
        clean_2x=clean_2x,
        clean_4x=clean_4x,
        direction=Direction.BACKWARD,
    )


def original_paddings(count: int) -> list[int]:
    """Distance of each section to the start frame, in windows; long videos repeat 2 instead of counting down."""
    if count > 4:
        return [3] + [2] * (count - 3) + [1, 0]
    return list(reversed(range(count)))


def _split(lengths: tuple[int, ...]) -> list[tuple[int, ...]]:
    parts: list[tuple[int, ...]] = []
    first = 0
    for length in lengths:
        parts.append(tuple(range(first, first + length)))
        first += length
    return parts
