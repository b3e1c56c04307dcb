"""Clips of the embedded world: frames in which something happens, with their ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drawing import draw
from .motion import Mover
from .pairs import start_pair, with_second
from .scenes import Scene, Subject, random_scene
from .tables import BACKGROUNDS, COLOURS, DIRECTIONS, EVENTS, FAST, SHAPES, check
from .truth import boxes_of, visible_shares

LOOK_AHEAD = 12  # frames over which it is judged where a subject goes
NEED_SUBJECT = ("disappear", "appear", "colour", "cut", "motion")
ONE_WAY = ("none", "motion")  # events after which nothing can be as it was before

Array = NDArray[Any]
Stage = tuple[Scene, Sequence[Mover]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Clip:
    """Frames uint8 [T,64 scale,64 scale,3] and their truth: scenes by first frame, and the way of each of two subjects.

    `ways` [2,T,2] are the centres (x, y) of the subjects' boxes in px of a picture of 64 px, nan where the scene has no such
    subject; a centre may lie beyond the picture. `switch_frame` is that of the event, `back_frame` that at which the scene
    before it returns; None for none.
    """

    frames: Array
    scenes: tuple[tuple[int, Scene], ...]
    ways: Array
    event: str
    switch_frame: int | None
    back_frame: int | None = None

    @property
    def positions(self) -> Array:
        """The way of the scene's first subject, [T,2]."""
        way: Array = self.ways[0]
        return way

    @property
    def presence(self) -> Array:
        """Whether something of the first subject's box is in the picture, bool [T]."""
        there: Array = self.present[0]
        return there

    @cached_property
    def boxes(self) -> Array:
        """The subjects' boxes [2,T,4] inside the picture: left, top, right and bottom; nan where there is none."""
        looks = [[(first, scene.slots[slot][0]) for first, scene in self.scenes] for slot in range(2)]
        return np.stack([boxes_of(look, way) for look, way in zip(looks, self.ways)])

    @cached_property
    def present(self) -> Array:
        """Whether something of each subject's box is in the picture, bool [2,T]."""
        seen: Array = ~np.isnan(self.boxes[..., 0])
        return seen

    @cached_property
    def visible(self) -> Array:
        """Share of each subject that is seen, [2,T]: less than 1 beyond the picture and behind the other one."""
        parts = [
            visible_shares((scene.subject, scene.second), (self.ways[0, first:end], self.ways[1, first:end]))
            for (first, scene), end in zip(self.scenes, self._ends)
        ]
        return np.concatenate(parts, axis=1)

    @property
    def _ends(self) -> list[int]:
        return [*(first for first, _ in self.scenes[1:]), len(self.frames)]

    def scene_at(self, frame: int) -> Scene:
        """The scene of a frame, with motions being where the subjects go from there (borders turn them back)."""
        index = max(index for index, (first, _) in enumerate(self.scenes) if first <= frame)
        scene, end = self.scenes[index][1], self._ends[index]
        for slot, (subject, motion) in enumerate(scene.slots):
            if subject is not None and motion in DIRECTIONS:
                scene = scene.with_motion(slot, self._heading(slot, motion, frame, end))
        return scene

    def _heading(self, slot: int, motion: str, frame: int, end: int) -> str:
        """Where a subject that was told a direction goes from a frame on."""
        axis, way = 0 if motion in FAST["sideways"] else 1, self.ways[slot]
        moved = way[min(frame + LOOK_AHEAD, end - 1), axis] - way[frame, axis]
        if abs(moved) < 0.5:
            return motion
        return FAST["vertical" if axis else "sideways"][int(moved > 0)]


def make_clip(
    seed: int,
    frames: int,
    event: str = "none",
    switch_frame: int | None = None,
    *,
    pair: bool = False,
    back_frame: int | None = None,
    passes: bool = False,
    scale: int = 1,
    **fixed: Any,
) -> Clip:
    """Draw a clip of `frames` frames in which `event` happens, abruptly, at `switch_frame`.

    The clip depends on its arguments alone. Without `switch_frame` the event falls into the middle half.
    `fixed` (see `random_scene`, and empty: bool) holds for the scene before the event, or for the subject
    that appears.

    pair: there are two subjects; what concerns one of them (disappear, appear, colour, motion) happens to either. `second`
        and `second_motion` may be fixed, and `who`, the slot 0 or 1 that the event concerns.
    back_frame: from this frame on the scene before the event is there again.
    passes: the first subject passes the picture's edge on its way and comes back, without being told to.
    scale: the frames are 64 times it wide and high.

    Raises ValueError when the event or a frame cannot be.
    """
    check("event", event, EVENTS)
    rng = np.random.default_rng(seed)
    drawn = int(rng.integers(max(frames // 4, 1), max(3 * frames // 4, 2)))
    if event == "none":
        switch_frame = None
    elif switch_frame is None:
        switch_frame = drawn
    starts = _starts(frames, event, switch_frame, back_frame)
    if (pair or passes or event in NEED_SUBJECT) and fixed.setdefault("empty", False):
        asking = f"event {event!r}" if event in NEED_SUBJECT else "pair" if pair else "passing subject"
        raise ValueError(f"The {asking} needs a subject: do not ask for an empty scene.")
    who = fixed.pop("who", None)
    stage = _first_stage(rng, pair, passes, fixed)
    if who is None:
        who = int(rng.integers(2)) if pair else 0
    scenes, ways = _play(rng, event, stage, who=who, starts=starts, frames=frames)
    return Clip(
        frames=draw(scenes, ways[0], ways[1], scale=scale),
        scenes=tuple(scenes),
        ways=ways,
        event=event,
        switch_frame=switch_frame,
        back_frame=back_frame,
    )


def _starts(frames: int, event: str, switch_frame: int | None, back_frame: int | None) -> list[int]:
    """The first frames of the clip's stages."""
    if frames < 1 or (switch_frame is not None and not 0 < switch_frame < frames):
        raise ValueError(
            f"{frames} frames with an event at frame {switch_frame} cannot be: make the clip "
            "longer or let the event happen after frame 0 and before the end."
        )
    if back_frame is not None and (
        event in ONE_WAY or switch_frame is None or not switch_frame < back_frame < frames
    ):
        raise ValueError(
            f"After the event {event!r} at frame {switch_frame} nothing can return at frame {back_frame} of {frames}: "
            f"take another event than {' and '.join(ONE_WAY)}, and a later frame before the end."
        )
    return [frame for frame in (0, switch_frame, back_frame) if frame is not None]


def _first_stage(rng: np.random.Generator, pair: bool, passes: bool, fixed: dict[str, Any]) -> Stage:
    """The scene that a clip begins with, and who moves in it."""
    second = {name: fixed.pop(name) for name in ("second", "second_motion") if name in fixed}
    scene = random_scene(rng, **fixed)
    if passes and scene.motion not in DIRECTIONS:
        scene = replace(scene, motion=list(DIRECTIONS)[rng.integers(len(DIRECTIONS))])
    if pair:
        scene = with_second(rng, scene, **second)
    movers = _start(rng, scene)
    if passes and scene.subject is not None:
        movers[0].pass_edge(rng, scene.subject.pixels / 2)
    return scene, movers


def _play(
    rng: np.random.Generator, event: str, stage: Stage, *, who: int, starts: Sequence[int], frames: int
) -> tuple[list[tuple[int, Scene]], Array]:
    """The scenes of a clip by first frame, and the ways [2,T,2] of its subjects: before the event, after it, and back."""
    scene, movers = stage
    first: Stage = (scene.with_subject(who, None) if event == "appear" else scene, movers)
    scenes, ways = [], []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], frames])):
        # An event looks at where its subject has come to.
        shown = _change(rng, event, stage, who) if number == 1 else first
        scenes.append((start, shown[0]))
        ways.append(_travel(shown, end - start))
    return scenes, np.concatenate(ways, axis=1)


def _start(rng: np.random.Generator, scene: Scene) -> Sequence[Mover]:
    """Who moves in a scene, by slot."""
    return start_pair(rng, scene) if scene.second is not None else (Mover.start(rng, scene),)


def _travel(stage: Stage, frames: int) -> Array:
    """The ways [2,T,2] of a stage's subjects over some frames; who is not there stays where it is."""
    scene, movers = stage
    ways = np.full((2, frames, 2), np.nan)
    for slot, mover in enumerate(movers):
        if scene.slots[slot][0] is not None:
            ways[slot] = mover.travel(frames)
    return ways


def _change(rng: np.random.Generator, event: str, stage: Stage, who: int) -> Stage:
    """The scene after an event that concerns the subject in slot `who`, and who moves in it."""
    scene, movers = stage
    subject, motion = scene.slots[who]
    if event == "cut":
        return _cut(rng, scene)
    if event == "motion":
        scene = scene.with_motion(who, movers[who].turn(rng, motion))
    elif event == "disappear":
        scene = scene.with_subject(who, None)
    elif event == "colour" and subject is not None:
        taken = [other.colour for other, _ in scene.shown]
        scene = scene.with_subject(who, replace(subject, colour=_other(rng, COLOURS, taken)))
    elif event == "background":
        scene = replace(scene, background=_other(rng, BACKGROUNDS, [scene.background]))
    elif event == "night":
        scene = replace(scene, night=not scene.night)
    return scene, movers


def _cut(rng: np.random.Generator, old: Scene) -> Stage:
    """Another place with as many subjects or none, the first of another shape and colour."""
    was: Subject | None = old.subject
    background, colour, shape = (
        _other(rng, options, [] if value is None else [value])
        for options, value in (
            (BACKGROUNDS, old.background),
            (COLOURS, was.colour if was else None),
            (SHAPES, was.shape if was else None),
        )
    )
    scene = random_scene(rng, background=background)
    if scene.subject is not None:
        scene = replace(scene, subject=replace(scene.subject, colour=colour, shape=shape))
        if old.second is not None:
            scene = with_second(rng, scene)
    return scene, _start(rng, scene)


def _other(rng: np.random.Generator, options: Iterable[str], taken: Sequence[str]) -> str:
    others = [option for option in options if option not in taken]
    return others[rng.integers(len(others))]
