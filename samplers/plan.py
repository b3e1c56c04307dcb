"""Where each section lies in the video and which frame indices the model sees for it.

Source: lllyasviel/FramePack, `demo_gradio_f1.py` (f1) and `demo_gradio.py` (original).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conditioning import Prompt

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
class Section:
    """One window of the video. Ranges are half open; `index` counts in the order of generation.

    `latents` is the range of the video's latent frames that the section fills, `frames` the pixel frames they
    decode to. `prompt` is in force, `previous` was in force for the section generated before. `change` in [0, 1]
    belongs to the latest switch; `since_switch` counts the sections generated since then (None before any).
    In the original layout the generation runs backwards, so the "previous" prompt is the later one in the video.
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


def plan_sections(layout: str, count: int, window: int, *, keeps_start: bool = True) -> list[Section]:
    """Sections in the order of generation.

    `keeps_start` says that the start image is the first latent frame of the video; without an image it is not,
    and the video is one latent frame shorter. Raises ValueError for an unknown layout, count or window.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    if not 1 <= window <= MAX_WINDOW:
        raise ValueError(
            f"window is {window}; FramePack windows lie between 1 and {MAX_WINDOW} latent frames (usual: 9)."
        )
    if count < 1:
        raise ValueError(f"{count} sections were asked for; give a length of at least one section.")
    offset = int(keeps_start)
    if layout == "f1":
        positions, paddings, indices = range(count), [0] * count, [f1_indices(window)] * count
    else:
        paddings = original_paddings(count)
        positions, indices = reversed(range(count)), [original_indices(window, p) for p in paddings]
    sections = []
    for index, (position, padding, section_indices) in enumerate(zip(positions, paddings, indices)):
        latents = (offset + window * position, offset + window * (position + 1))
        sections.append(Section(index, latents, pixel_frames(latents), padding, section_indices))
    return sections


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
