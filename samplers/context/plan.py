"""Where each section lies in the video and which frame indices the model sees for it.

Source: lllyasviel/FramePack, `demo_gradio_f1.py` (f1) and `demo_gradio.py` (original).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..conditioning import Anchor, Prompt

LAYOUTS = ("f1", "original")
FPS = 30.0
HISTORY_1X, HISTORY_2X, HISTORY_4X = 1, 2, 16
HISTORY = HISTORY_1X + HISTORY_2X + HISTORY_4X
MAX_WINDOW = 33


@dataclass(frozen=True)
class SectionIndices:
    """Frame indices of one section, in latent frames on the model's own time axis.

    `clean` is (start, last): the start frame, then the generated frame that touches the window.
    """

    target: tuple[int, ...]
    clean: tuple[int, ...]
    clean_2x: tuple[int, ...]
    clean_4x: tuple[int, ...]


@dataclass(frozen=True)
class Shot:
    """What lies between two cuts: `number` counts in time from 0, `latents` is the range that its sections fill.

    `last` says that the video ends with it.
    """

    number: int
    latents: tuple[int, int]
    last: bool = True


@dataclass(frozen=True)
class Section:
    """One window of the video. Ranges are half open; `index` counts in the order of generation.

    `latents` is the range of the video's latent frames that the section fills, `frames` the pixel frames they
    decode to. `prompt` is in force, `previous` was in force for the section generated before. `change` in [0, 1]
    belongs to the latest switch; `since_switch` counts the sections generated since then (None before any).
    In the original layout the generation runs backwards, so the "previous" prompt is the later one in the video.
    Nothing is remembered across the borders of `shot`; after a cut there is no previous prompt and no switch.
    `anchor` replaces the run's start frame and image tokens. The text is `blend` of the prompt and the rest of
    `blend_from`.
    """

    index: int
    latents: tuple[int, int]
    frames: tuple[int, int]
    padding: int
    indices: SectionIndices
    prompt: Prompt | None = None
    previous: Prompt | None = None
    change: float = 0.0
    since_switch: int | None = None
    shot: Shot | None = None
    anchor: Anchor | None = None
    blend: float = 1.0
    blend_from: Prompt | None = None

    @property
    def cut(self) -> bool:
        """Whether a shot begins with the section, in time, that is not the first one."""
        return self.shot is not None and self.shot.number > 0 and self.latents[0] == self.shot.latents[0]


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
    layout: str, count: int, window: int, *, keeps_start: bool = True, given: int = 0
) -> list[Section]:
    """Sections in the order of generation.

    `keeps_start` says that the start image is the first latent frame of the video; without an image it is not,
    and the video is one latent frame shorter. `given` latent frames of a video that goes on come before the sections,
    instead of the start image; F1 then counts on from the sections that would have made them. Raises ValueError for an
    unknown layout, count or window.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    if not 1 <= window <= MAX_WINDOW:
        raise ValueError(
            f"window is {window}; FramePack windows lie between 1 and {MAX_WINDOW} latent frames (usual: 9)."
        )
    if count < 1:
        raise ValueError(f"{count} sections were asked for; give a length of at least one section.")
    offset = given or int(keeps_start)
    shot = Shot(0, (offset, offset + window * count))
    if layout == "f1":
        positions, paddings, indices = range(count), [0] * count, [f1_indices(window)] * count
    else:
        paddings = original_paddings(count)
        positions, indices = reversed(range(count)), [original_indices(window, p) for p in paddings]
    made = ceil(max(given - 1, 0) / window) if layout == "f1" else 0
    sections = []
    for index, (position, padding, section_indices) in enumerate(zip(positions, paddings, indices)):
        latents = (offset + window * position, offset + window * (position + 1))
        frames = pixel_frames(latents)
        sections.append(Section(made + index, latents, frames, padding, section_indices, shot=shot))
    return sections


def split_shots(sections: Sequence[Section], numbers: Sequence[int]) -> list[Section]:
    """Give every section of a whole plan to the shot with its number; numbers rise in time.

    In the original layout each shot counts its distances to a start frame of its own, as if it were the whole video.
    """
    members: dict[int, list[Section]] = {}
    for section, number in zip(sections, numbers):
        members.setdefault(number, []).append(section)
    if len(members) == 1 and 0 in members:
        return list(sections)
    backwards = sections[0].latents > sections[-1].latents
    first, end = sections[0].shot.latents
    shots, starts = {}, sorted(members)
    for number, following in zip(starts, [*starts[1:], None]):
        begin = first if number == 0 else min(section.latents[0] for section in members[number])
        stop = end if following is None else min(section.latents[0] for section in members[following])
        shots[number] = Shot(number, (begin, stop), following is None)
    placed = {
        section.index: replace(section, shot=shots[number], **_distance(section, padding, backwards))
        for number, group in members.items()
        for section, padding in zip(group, original_paddings(len(group)))
    }
    return [placed[section.index] for section in sections]


def _distance(section: Section, padding: int, backwards: bool) -> Mapping[str, Any]:
    """The fields of a section that say how far its start frame is away; F1 says nothing about that."""
    if not backwards:
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
    return SectionIndices(target, start + last, clean_2x, clean_4x)


def original_indices(window: int, padding: int) -> SectionIndices:
    """The original layout generates backwards: [start, blank, window, 1 at 1x, 2 at 2x, 16 at 4x]."""
    start, _, target, last, clean_2x, clean_4x = _split(
        (1, padding * window, window, HISTORY_1X, HISTORY_2X, HISTORY_4X)
    )
    return SectionIndices(target, start + last, clean_2x, clean_4x)


def original_paddings(count: int) -> list[int]:
    """Distance of each section to the start frame, in windows; long videos repeat 2 instead of counting down."""
    if count > 4:
        return [3] + [2] * (count - 3) + [1, 0]
    return list(reversed(range(count)))


def _split(lengths: tuple[int, ...]) -> list[tuple[int, ...]]:
    parts, first = [], 0
    for length in lengths:
        parts.append(tuple(range(first, first + length)))
        first += length
    return parts
