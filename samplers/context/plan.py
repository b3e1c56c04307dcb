"""Where each section lies in the video, and in which order sections are generated.

Source: lllyasviel/FramePack, `demo_gradio_f1.py` (f1) and `demo_gradio.py` (original).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import accumulate, pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from .indices import (
    HISTORY_1X,
    MAX_RECENT_FRAMES,
    Direction,
    SectionIndices,
    check_padding,
    f1_indices,
    original_indices,
    original_paddings,
)
from .lengths import section_lengths

if TYPE_CHECKING:
    from ..conditioning import Anchor, Prompt
from ..events import AUTO

FPS = 30.0
# Upstream's slider ends at 33; positions are computed, so that the model itself sets no limit.
MAX_WINDOW = 64

# What users choose, and what workflows and traces hold: upstream's two demos, by the models that they run.
DIRECTIONS = {"f1": Direction.FORWARD, "original": Direction.BACKWARD}
LAYOUTS = tuple(DIRECTIONS)


def direction_of(layout: str) -> Direction:
    """The direction in which a layout generates. Raises ValueError for a name that is no layout's."""
    if layout not in DIRECTIONS:
        raise ValueError(f"layout is {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    return DIRECTIONS[layout]


@dataclass(frozen=True)
class Shot:
    """What lies between two cuts.

    number: counts the shots in time from 0.
    latents: the range of latent frames that its sections fill.
    last: whether the video ends with it.
    loop_from: the latent frame from which on it leads back to the video's start; None for no loop.
    padding: the distance to the start frame, in sections, that was chosen for all its sections but the last; None for the usual
        ones.
    """

    number: int
    latents: tuple[int, int]
    last: bool = True
    loop_from: int | None = None
    padding: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class PlannedSection:
    """One window of a video before it has a prompt. Ranges are half open.

    index: place in the order of generation, from 0.
    latents: the range of the video's latent frames that the section fills.
    frames: the range of pixel frames that these decode to.
    padding: distance to the start frame in sections, where the video is generated backward; otherwise 0.
    indices: where the section and its memory lie on the model's time axis.
    shot: the stretch between two cuts that it belongs to; nothing is remembered from other shots.
    """

    index: int
    latents: tuple[int, int]
    frames: tuple[int, int]
    padding: float
    indices: SectionIndices
    shot: Shot

    @property
    def window(self) -> int:
        """How many latent frames it has."""
        return self.latents[1] - self.latents[0]

    @property
    def direction(self) -> Direction:
        """The order in which the video's sections are generated."""
        return self.indices.direction

    @property
    def cut(self) -> bool:
        """Whether the section is the first one, in time, of a shot that follows another one."""
        return self.shot.number > 0 and self.latents[0] == self.shot.latents[0]

    @property
    def closes_loop(self) -> bool:
        """Whether it leads from the end of a loop's sections before it back to the video's start."""
        return self.shot.loop_from is not None and self.latents[0] >= self.shot.loop_from

    @property
    def goes_on(self) -> bool:
        """Whether it goes on from something: an earlier generated section of its shot, or a past video."""
        if self.shot.loop_from is not None:
            return self.index > 0
        if self.direction is Direction.BACKWARD:
            return self.latents[1] < self.shot.latents[1]
        return self.index > 0 and self.latents[0] > 0 and not self.cut

    def with_prompt(self, prompt: Prompt, **changes: Any) -> Section:
        """The section under a prompt; `changes` are further fields of Section."""
        planned = {each.name: getattr(self, each.name) for each in fields(PlannedSection)}
        return Section(**{**planned, "prompt": prompt, **changes})


@dataclass(frozen=True, kw_only=True)
class Section(PlannedSection):
    """One window of a video with its prompt.

    prompt: what it shows.
    previous: the prompt before the latest switch, in the order of generation (backward the later one in time); None before any.
    change: how much of the scene the latest switch changes, from 0 to 1.
    since_switch: how many sections were generated since that switch; None before any. A cut is no switch.
    anchor: the start frame and image tokens that replace the run's own; None for those.
    blend: the weight of the prompt's text, from 0 to 1; the rest is that of `blend_from`, the prompt that the text moves away from.
    departure: how much of the start frame's scene the prompt changes, 0..1; 0 where that frame shows the prompt's own scene.
    recalls: the earlier prompt whose scene it returns to, in the first section that does; None for none.
    """

    prompt: Prompt
    previous: Prompt | None = None
    change: float = 0.0
    since_switch: int | None = None
    anchor: Anchor | None = None
    blend: float = 1.0
    blend_from: Prompt | None = None
    recalls: Prompt | None = None
    departure: float = 0.0

    @property
    def event(self) -> str:
        """What happens at the latest switch, as the prompt says that comes later in the video; see events.EVENTS.

        Where it says auto: gone, or cut where it brings a start frame of its own.
        """
        later = max(self.prompt, self.previous or self.prompt, key=lambda prompt: prompt.start)
        if later.event != AUTO:
            return later.event
        return "gone" if later.start_latent is None else "cut"

    @cached_property
    def text_changed(self) -> bool:
        """Whether its text says anything else than the one before the latest switch; False before any."""
        if self.previous is None:
            return False
        texts = [self.prompt] if self.blend_from is None else [self.prompt, self.blend_from]
        return not all(text.says_the_same(self.previous) for text in texts)


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
    layout: str,
    count: int,
    window: int,
    *,
    keeps_start: bool = True,
    past_latent_frames: int = 0,
    recent_frames: int = HISTORY_1X,
    loop: bool = False,
    borders: Collection[int] = (),
    padding: float | None = None,
) -> list[PlannedSection]:
    """Sections in the order of generation.

    `keeps_start` says that the start image is the first latent frame of the video; without an image it is not,
    and the video is one latent frame shorter. `past_latent_frames` of a video that the run continues come before the sections,
    instead of the start image; F1 then counts on from the sections that would have made them. `recent_frames` next to the
    window are remembered at full resolution, fewer where the video has fewer. In a `loop` the later half of the sections is
    generated last and leads back to the start. At each of the `borders`, latent frames of the video, a section begins, which
    makes some sections shorter and the video no longer (see section_lengths). `padding` is a distance to the start frame, in
    sections, for all sections of a shot but the last, in place of the usual ones (see original_paddings). Raises ValueError for an
    unknown layout, count, window or number of frames, and for a loop or a padding that is not possible.
    """
    direction = direction_of(layout)
    _check_plan(count, window, recent_frames)
    check_padding(direction, padding)
    offset = past_latent_frames or int(keeps_start)
    if loop:
        _check_loop(direction, count, past_latent_frames)
    lengths = section_lengths(offset, count, window, borders)
    ranges = list(pairwise(accumulate(lengths, initial=offset)))
    closing = len(ranges) // 2 if loop else 0
    loop_from = ranges[-closing][0] if loop else None
    shot = Shot(0, (offset, ranges[-1][1]), loop_from=loop_from, padding=padding)
    forward = direction is Direction.FORWARD
    made = ceil(max(past_latent_frames - 1, 0) / window) if forward else 0
    sections = []
    for index, (position, distance) in enumerate(_positions(direction, len(ranges), closing, padding)):
        latents = ranges[position]
        recent = min(recent_frames, max(remembered_frames(latents, shot, forward), HISTORY_1X))
        sections.append(
            PlannedSection(
                index=made + index,
                latents=latents,
                frames=pixel_frames(latents),
                padding=distance,
                indices=section_indices(
                    direction, length=lengths[position], padding=distance, recent=recent, whole=max(lengths)
                ),
                shot=shot,
            )
        )
    return sections


def section_indices(
    direction: Direction, *, length: int, padding: float, recent: int, whole: int
) -> SectionIndices:
    """Where a section of `length` latent frames and its memory lie; `padding` counts sections of `whole` latent frames."""
    if direction is Direction.FORWARD:
        return f1_indices(length, recent)
    return original_indices(length, padding, recent, whole=whole)


def _check_plan(count: int, window: int, recent_frames: int) -> None:
    if not 1 <= window <= MAX_WINDOW:
        raise ValueError(
            f"window is {window}; FramePack windows lie between 1 and {MAX_WINDOW} latent frames (usual: 9)."
        )
    if count < 1:
        raise ValueError(f"{count} sections were asked for; give a length of at least one section.")
    if not 1 <= recent_frames <= MAX_RECENT_FRAMES:
        raise ValueError(
            f"recent_frames is {recent_frames}; give 1 (as trained) to {MAX_RECENT_FRAMES} latent frames."
        )


def _check_loop(direction: Direction, count: int, past_latent_frames: int) -> None:
    if direction is Direction.FORWARD:
        raise ValueError(
            "loop is on, but layout f1 generates forward and cannot know where the loop ends; choose layout original (with "
            "the original model), or turn loop off."
        )
    if count < 2:
        raise ValueError(
            "loop is on, but the video has a single section; give a length of two sections or more, of which the later half "
            "leads back to the start, or turn loop off."
        )
    if past_latent_frames:
        raise ValueError(
            "loop is on, but past_latent is connected; a loop begins anew, so disconnect one of them."
        )


def _positions(
    direction: Direction, count: int, closing: int, padding: float | None
) -> list[tuple[int, float]]:
    """Place in time, in sections, and distance to the start frame, in windows, of all sections as they are generated."""
    if direction is Direction.FORWARD:
        return [(position, 0) for position in range(count)]
    main = count - closing
    return [
        *zip(reversed(range(main)), original_paddings(main, padding)),
        *zip(reversed(range(main, count)), original_paddings(closing, padding)),
    ]


def remembered_frames(latents: tuple[int, int], shot: Shot, forward: bool) -> int:
    """How many latent frames of its shot there are when the section that fills a range is generated."""
    if forward:
        # A later shot begins from a start frame of its own, which is remembered too.
        return latents[0] - (shot.latents[0] - 1 if shot.number else 0)
    if shot.loop_from is None:
        return shot.latents[1] - latents[1]
    if latents[0] < shot.loop_from:
        return shot.loop_from - latents[1]
    return shot.latents[1] - latents[1] + shot.loop_from


def pixel_frames(latents: tuple[int, int]) -> tuple[int, int]:
    """Pixel frames that a half-open range of latent frames decodes to: latent 0 is one frame, every other is four."""
    first, last = latents
    return (0 if first == 0 else 4 * first - 3), 4 * last - 3
