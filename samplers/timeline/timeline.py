"""Prompts over time, as the nodes hand them to the sampler."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

from ..context.plan import FPS
from ..events import AUTO, EVENTS
from ..section_seeds import LARGEST_SEED

# Where a prompt takes over: at the nearest border between two sections, or where a section begins on its frame.
LANDINGS = ("border", "frame")


@dataclass(frozen=True, eq=False, kw_only=True)
class TimelineEntry:
    """A prompt that holds until the next entry starts. Raises ValueError for values that contradict each other.

    start: when the prompt takes over, in seconds of the video.
    prompt: the text, for traces and reports; the picture does not depend on it.
    conditioning: the encoded text, a ComfyUI CONDITIONING.
    change: how much the scene is meant to change when the prompt takes over, from 0 to 1.
    state: what can be seen afterwards, for evaluators; "" where the prompt says it.
    cut: whether a new shot begins, whose sections remember nothing before it.
    recall: whether that shot goes on from what an earlier entry left, the one whose text is most like this one's; it takes
        `cut`.
    keep: what that shot keeps of the one before it, a ComfyUI CONDITIONING that names it; None for nothing. It takes `cut`.
    blend: number of sections over which the text moves from the prompt before it to this one.
    start_latent: a LATENT that replaces the start frame from here on; None keeps the one in force.
    clip_vision_output: an image whose tokens replace those in force from here on; None keeps them.
    vision_strength: factor of the image tokens while this entry holds.
    section_seed: the seed of the first section of this entry; None leaves it the run's.
    landing: whether the prompt takes over at the nearest section border, or a section begins on its own frame: one of
        LANDINGS.
    event: what happens when the prompt takes over, for techniques that distinguish it: one of EVENTS.
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
    section_seed: int | None = None
    landing: str = "border"
    event: str = AUTO
    recall: bool = False
    keep: Any = None

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
        if self.recall:
            self._check_recall()
        if self.keep is not None:
            self._check_keep()
        if self.blend < 0:
            raise ValueError(
                f"the timeline entry at {self.start:g} s has a blend of {self.blend}; give 0 or more."
            )
        if self.section_seed is not None and not 0 <= self.section_seed <= LARGEST_SEED:
            raise ValueError(
                f"the timeline entry at {self.start:g} s has the section_seed {self.section_seed}; give 0 to {LARGEST_SEED}, or "
                "none."
            )
        if self.landing not in LANDINGS:
            raise ValueError(
                f"the timeline entry at {self.start:g} s has the landing {self.landing!r}; choose one of "
                f"{', '.join(LANDINGS)}."
            )
        if self.event not in EVENTS:
            raise ValueError(
                f"the timeline entry at {self.start:g} s has the event {self.event!r}; choose one of {', '.join(EVENTS)}."
            )
        if not 0 <= self.vision_strength < inf:
            raise ValueError(
                f"the timeline entry at {self.start:g} s has a vision_strength of {self.vision_strength}; give 0 or more."
            )

    def _check_recall(self) -> None:
        if not self.cut:
            raise ValueError(
                f"the timeline entry at {self.start:g} s recalls a scene without a cut; recall goes back to another shot, so "
                "turn cut on."
            )
        if self.start_latent is not None or self.clip_vision_output is not None:
            raise ValueError(
                f"the timeline entry at {self.start:g} s recalls a scene and brings an image; recall comes with the image of "
                "that scene, so disconnect start_latent and clip_vision_output, or turn recall off."
            )

    def _check_keep(self) -> None:
        if not self.cut:
            raise ValueError(
                f"the timeline entry at {self.start:g} s has a keep without a cut; without one nothing is forgotten, so turn cut "
                "on, or disconnect keep."
            )
        if self.recall:
            raise ValueError(
                f"the timeline entry at {self.start:g} s keeps something of the shot before it and recalls another scene; choose "
                "one of keep and recall."
            )
        if self.start_latent is not None or self.clip_vision_output is not None:
            raise ValueError(
                f"the timeline entry at {self.start:g} s keeps something of the shot before it and brings an image; the new shot "
                "starts from one of them, so disconnect keep, or start_latent and clip_vision_output."
            )


@dataclass(frozen=True, kw_only=True)
class VideoLength:
    """The length of a generated video: `sections` of `window` latent frames each."""

    sections: int
    window: int

    def described(self) -> str:
        """Such as: 4 sections of 9 latent frames (4.8 s)."""
        noun = "section" if self.sections == 1 else "sections"
        return f"{self.sections} {noun} of {self.window} latent frames ({4 * self.sections * self.window / FPS:g} s)"


@dataclass(frozen=True, eq=False)
class Timeline:
    """Entries in rising order of their start, from 0 s on. Raises ValueError for any other order.

    length: of the video that the times were made for; None where they hold for any.
    unused: the starts of the entries that get no section of such a video, as the timeline's node has said.
    """

    entries: tuple[TimelineEntry, ...]
    length: VideoLength | None = None
    unused: frozenset[float] = frozenset()

    def __post_init__(self) -> None:
        starts = [entry.start for entry in self.entries]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise ValueError(
                f"timeline entries start at {starts} s; each must start later than the one before it."
            )
        if any(start < 0 for start in starts):
            raise ValueError(f"timeline entries start at {starts} s; no entry can start before 0.")
