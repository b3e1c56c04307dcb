"""Clips of the embedded world: frames in which something happens, with their ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drawing import draw
from .motion import Mover
from .scenes import Scene, random_scene
from .tables import BACKGROUNDS, COLOURS, DIRECTIONS, EVENTS, FAST, SHAPES, check

LOOK_AHEAD = 12  # frames over which it is judged where a subject goes
NEED_SUBJECT = ("disappear", "appear", "colour", "cut", "motion")

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Clip:
    """Frames uint8 [T,64,64,3] and their truth: scenes by first frame, positions [T,2] in px, presence [T].

    A position (x, y) is the centre of the subject's box, nan without one; `switch_frame` is None for none.
    """

    frames: Array
    scenes: tuple[tuple[int, Scene], ...]
    positions: Array
    presence: Array
    event: str
    switch_frame: int | None

    def scene_at(self, frame: int) -> Scene:
        """The scene of a frame, `motion` being where the subject goes from there (borders turn it back)."""
        index = max(index for index, (first, _) in enumerate(self.scenes) if first <= frame)
        scene = self.scenes[index][1]
        if scene.subject is None or scene.motion not in DIRECTIONS:
            return scene
        end = self.scenes[index + 1][0] if index + 1 < len(self.scenes) else len(self.frames)
        axis = 0 if scene.motion in FAST["sideways"] else 1
        moved = self.positions[min(frame + LOOK_AHEAD, end - 1), axis] - self.positions[frame, axis]
        if abs(moved) < 0.5:
            return scene
        return replace(scene, motion=FAST["vertical" if axis else "sideways"][int(moved > 0)])


def make_clip(
    seed: int, frames: int, event: str = "none", switch_frame: int | None = None, **fixed: Any
) -> Clip:
    """Draw a clip of `frames` frames in which `event` happens, abruptly, at `switch_frame`.

    The clip depends on its arguments alone. Without `switch_frame` the event falls into the middle half.
    `fixed` (see `random_scene`, and empty: bool) holds for the scene before the event, or for the subject
    that appears. Raises ValueError when the event or the frame cannot be.
    """
    check("event", event, EVENTS)
    rng = np.random.default_rng(seed)
    drawn = int(rng.integers(max(frames // 4, 1), max(3 * frames // 4, 2)))
    if event == "none":
        switch_frame = None
    elif switch_frame is None:
        switch_frame = drawn
    if frames < 1 or (switch_frame is not None and not 0 < switch_frame < frames):
        raise ValueError(
            f"{frames} frames with an event at frame {switch_frame} cannot be: make the clip "
            "longer or let the event happen after frame 0 and before the end."
        )
    if event in NEED_SUBJECT and fixed.setdefault("empty", False):
        raise ValueError(f"The event {event!r} needs a subject: do not ask for an empty scene.")
    scenes, parts = [], []
    scene = random_scene(rng, **fixed)
    mover = Mover.start(rng, scene)
    for first, last in ((0, switch_frame), (switch_frame, frames)) if switch_frame else ((0, frames),):
        if first:
            scene, mover = _change(rng, event, scene, mover)
        shown = replace(scene, subject=None) if event == "appear" and not first else scene
        scenes.append((first, shown))
        parts.append(mover.travel(last - first) if shown.subject else np.full((last - first, 2), np.nan))
    positions = np.concatenate(parts)
    presence = ~np.isnan(positions[:, 0])
    return Clip(
        frames=draw(scenes, positions),
        scenes=tuple(scenes),
        positions=positions,
        presence=presence,
        event=event,
        switch_frame=switch_frame,
    )


def _change(rng: np.random.Generator, event: str, scene: Scene, mover: Mover) -> tuple[Scene, Mover]:
    """The scene after an event, and who moves in it."""
    subject = scene.subject
    if event == "cut":
        background, colour, shape = (
            _other(rng, options, old)
            for options, old in (
                (BACKGROUNDS, scene.background),
                (COLOURS, None if subject is None else subject.colour),
                (SHAPES, None if subject is None else subject.shape),
            )
        )
        scene = random_scene(rng, background=background)
        if scene.subject is not None:
            scene = replace(scene, subject=replace(scene.subject, colour=colour, shape=shape))
        return scene, Mover.start(rng, scene)
    if event == "motion":
        scene = replace(scene, motion=mover.turn(rng, scene.motion))
    elif event == "disappear":
        scene = replace(scene, subject=None)
    elif event == "colour" and subject is not None:
        scene = replace(scene, subject=replace(subject, colour=_other(rng, COLOURS, subject.colour)))
    elif event == "background":
        scene = replace(scene, background=_other(rng, BACKGROUNDS, scene.background))
    elif event == "night":
        scene = replace(scene, night=not scene.night)
    return scene, mover


def _other(rng: np.random.Generator, options: Iterable[str], old: str | None) -> str:
    others = [option for option in options if option != old]
    return others[rng.integers(len(others))]
