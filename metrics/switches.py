"""When a video is asked to change, and the windows around such a switch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import count, pairwise
from math import ceil, inf
from typing import Any

HALF_SECOND = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cue:
    """A prompt of a timeline.

    start: seconds from which on it is asked for.
    prompt: its text.
    state: what can be seen then, where the prompt is an instruction; "" where the prompt itself says it.
    change: how much the scene is meant to change, 0..1.
    interval: first and last second after the switch at which a gradual change is meant to be complete.
    """

    start: float
    prompt: str
    _: KW_ONLY
    state: str = ""
    change: float = 1.0
    interval: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """The text of what can be seen."""
        return self.state.strip() or self.prompt.strip()


@dataclass(frozen=True)
class Switch:
    """A change of the prompt in a video.

    frame: the first frame that was made for the new prompt.
    requested: the second in which the new prompt was asked for.
    old: what can be seen before.
    new: what can be seen after.
    change: how much the scene is meant to change, 0..1.
    prompt: the new prompt itself, "" where it is `new`.
    interval: first and last second after the switch at which a gradual change is meant to be complete.
    until: the frame before which the outcome is to be there; None looks at all frames up to the next switch.
    """

    frame: int
    requested: float
    old: str
    new: str
    _: KW_ONLY
    change: float = 1.0
    prompt: str = ""
    interval: tuple[float, float] | None = None
    until: int | None = None

    @property
    def changes(self) -> bool:
        """Whether the new state differs from the old one; otherwise there is nothing to score."""
        return self.old != self.new

    def seconds(self, fps: float) -> float:
        """The time of the frame at a rate in frames per second."""
        return self.frame / fps


@dataclass(frozen=True)
class Windows:
    """Half-open frame ranges around a switch.

    before: the settled window of the stretch that ends at the switch; empty when the switch is the first frame.
    after: the stretch from the switch to the next one, to the end, or to where the outcome is to be there.
    settled: the last third of that stretch, at least half a second.
    half: frames of a full half second.
    """

    before: tuple[int, int]
    after: tuple[int, int]
    settled: tuple[int, int]
    half: int

    @property
    def is_short(self) -> bool:
        """Whether the stretch after the switch holds less than half a second."""
        return self.after[1] - self.after[0] < self.half

    @property
    def stretch(self) -> int:
        """Number of frames between the switch and the next one, or the end."""
        return self.after[1] - self.after[0]


def switches_of(cues: Iterable[Cue], *, fps: float, window: int = 0) -> list[Switch]:
    """The switches between cues, in order of time.

    window: latent frames of a section. A cue takes effect with the section in whose middle it is in force,
    and section i starts at frame 4*window*i + 1; with 0 it takes effect at the frame nearest to its start. A
    cue that a later one overtakes before its section begins is left out. Raises ValueError for a bad rate,
    window or two cues with one start.
    """
    cues = sorted(cues, key=lambda cue: cue.start)
    _check(cues, fps, window)
    in_force: list[tuple[int, Cue]] = [(0, cue) for cue in cues[:1]]
    for cue in cues[1:]:
        frame = effective_frame(cue.start, fps, window)
        while len(in_force) > 1 and in_force[-1][0] >= frame:
            logger.warning("%r never takes effect: a later prompt overtakes it.", in_force.pop()[1].prompt)
        in_force.append((frame, cue))
    return [_switch(frame, cue.start, old.text, cue) for (_, old), (frame, cue) in pairwise(in_force)]


def effective_frame(seconds: float, fps: float, window: int = 0) -> int:
    """The first frame that a prompt asked for at `seconds` is in force for.

    With sections of `window` latent frames that is the start of the first section whose middle is not before
    `seconds`; with window 0 the nearest frame.
    """
    if not window:
        return round(seconds * fps)
    length = 4 * window
    middles = ((section, (length * (section + 0.5) + 1) / fps) for section in count())
    return length * next(section for section, middle in middles if middle >= seconds) + 1


def switches_from_trace(trace: Mapping[str, Any], *, fps: float, cues: Sequence[Cue] = ()) -> list[Switch]:
    """The switches between the sections of a sampler's trace, in the order of the video.

    The effective frame is that of the section's record; `cues` supply the requested time of a prompt, which
    otherwise is taken to be the effective one. The original layout generates backwards: `change` belongs to
    the section of the two that was generated later.
    """
    sections = sorted(trace.get("sections", ()), key=lambda section: section["frames"][0])
    switches = []
    for old, new in pairwise(sections):
        if (old["prompt"], old.get("state", "")) == (new["prompt"], new.get("state", "")):
            continue
        frame = new["frames"][0]
        later = max((old, new), key=lambda section: section["index"])
        asked = [cue for cue in cues if cue.prompt.strip() == new["prompt"].strip()]
        asked.sort(key=lambda cue: abs(cue.start - frame / fps))
        cue = Cue(
            start=asked[0].start if asked else frame / fps,
            prompt=new["prompt"],
            state=new.get("state", ""),
            change=later.get("change", 1.0),
            interval=asked[0].interval if asked else None,
        )
        switches.append(_switch(frame, cue.start, _text(old), cue))
    return switches


def windows_of(switch: Switch, switches: Sequence[Switch], frames: int, fps: float) -> Windows:
    """The windows around one of the `switches` of a video of `frames` frames.

    Only switches that change what is seen bound a stretch.
    """
    half = half_second(fps)
    borders = sorted({other.frame for other in switches if other.changes and 0 < other.frame < frames})
    start = min(max(switch.frame, 0), frames)
    begin = max([border for border in borders if border < start], default=0)
    ends = [border for border in borders if border > start] + [frames]
    end = min([*ends, *([] if switch.until is None else [max(switch.until, start)])])
    return Windows(settled((begin, start), half), (start, end), settled((start, end), half), half)


def too_little_to_compare(windows: Windows) -> str | None:
    """Why the frames around a switch are too few to compare; None when they are enough."""
    if windows.stretch < 1:
        return "the switch lies behind the last frame"
    if windows.before[0] >= windows.before[1]:
        return "no frame precedes the switch"
    if windows.is_short:
        return (
            f"only {windows.stretch} frames follow before the next switch or the end, less than half a second"
        )
    return None


def half_second(fps: float) -> int:
    """Frames of a full half second, at least one."""
    return max(ceil(HALF_SECOND * fps - 1e-9), 1)


def settled(stretch: tuple[int, int], half: int) -> tuple[int, int]:
    """The last third of a stretch, at least `half` frames where it has as many."""
    start, end = stretch
    return max(end - max(ceil((end - start) / 3), half), start), end


def _switch(frame: int, requested: float, old: str, cue: Cue) -> Switch:
    return Switch(
        frame=frame,
        requested=requested,
        old=old,
        new=cue.text,
        change=cue.change,
        prompt=cue.prompt.strip(),
        interval=cue.interval,
    )


def _text(section: Mapping[str, Any]) -> str:
    return str(section.get("state", "")).strip() or str(section["prompt"]).strip()


def _check(cues: Sequence[Cue], fps: float, window: int) -> None:
    if not fps > 0:
        raise ValueError(f"fps is {fps}; give the frames per second of the video, for example 30.")
    if window < 0:
        raise ValueError(
            f"window is {window}; give the latent frames of a section (usual: 9), or 0 for none."
        )
    starts = [cue.start for cue in cues]
    rise = all(earlier < later for earlier, later in pairwise(starts))
    if not rise or not all(0 <= start < inf for start in starts):
        raise ValueError(f"the prompts start at {starts} s; each needs a start of its own, 0 or later.")
