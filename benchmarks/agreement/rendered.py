"""Clips of the embedded world in which it is known when, how far and to what the scene changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...tiny.world import BACKGROUNDS, COLOURS, SHAPES, Mover, Scene, Subject, draw, make_clip
from ..transition.episodes import FIRST_SEED

EVENTS = ("disappear", "appear", "colour", "background", "night", "cut")
OPACITIES = (0.25, 0.5, 0.75)
GHOSTS = tuple(f"ghost {opacity:g}" for opacity in OPACITIES)
SUCCEEDING, FAILING = ("at once", "delayed", "fading"), ("never", "wrong scene", "flicker", "relapse")
KINDS = (*SUCCEEDING, *FAILING, *GHOSTS)
BEFORE, AFTER, REFERENCE = 21, 48, 25  # frames
FLICKER = 6  # frames of the new scene, then of the old one
LONGEST = 24  # frames until the last change: the settled third is free of them
REACHED = 0.9
REFERENCE_STREAM = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class RenderedClip:
    """A clip that is asked to change to another scene at frame BEFORE.

    kind: how the change happens, one of KINDS.
    event: what changes, one of EVENTS.
    seed: the number of the clip.
    frames: uint8 [T,64,64,3].
    share: how much of each frame is the new scene, 0 to 1, [T]; the rest is the old one.
    before, after: the old scene, and the one that is asked for.
    shown: the scene that is shown instead of `after`; another one in a "wrong scene" only.
    """

    kind: str
    event: str
    seed: int
    frames: NDArray[np.uint8]
    share: NDArray[np.float64]
    before: Scene
    after: Scene
    shown: Scene

    @property
    def succeeds(self) -> bool | None:
        """Whether the clip ends with what was asked for; None for ghosts, which are neither."""
        return None if self.kind in GHOSTS else self.kind in SUCCEEDING

    @property
    def latency(self) -> int | None:
        """Frames until nine tenths of the picture are the new scene and stay so, None for never."""
        return int(np.argmax(self.share[BEFORE:] >= REACHED)) if self.kind in SUCCEEDING else None

    @property
    def is_gone(self) -> bool | None:
        """Whether nothing of the old subject is left at the end; None without one that should go, and for ghosts."""
        if not loses_subject(self.before, self.after) or self.kind in GHOSTS:
            return None
        return self.kind in (*SUCCEEDING, "wrong scene")


def rendered_clips(seed: int) -> list[RenderedClip]:
    """A clip of every kind, all of the same two scenes, whose event follows from the seed."""
    event = EVENTS[seed % len(EVENTS)]
    rng = np.random.default_rng([FIRST_SEED, seed])
    length = BEFORE + AFTER
    # The same clip twice, with its event at the switch and behind the end, so that the old scene can go on.
    old, new = (make_clip(FIRST_SEED + seed, length + 1, event, frame) for frame in (length, BEFORE))
    before, after = new.scenes[0][1], new.scenes[1][1]
    other = wrong_scene(event, before, after, rng)
    positions = (old if after.subject is None else new).positions[:length]
    others = np.concatenate([new.frames[:BEFORE], draw([(0, other)], positions[BEFORE:])])
    made = []
    for kind in KINDS:
        share = shares(kind, rng)
        target = others if kind == "wrong scene" else new.frames[:length]
        frames = mixed(old.frames[:length], target, share)
        shown = other if kind == "wrong scene" else after
        made.append(
            RenderedClip(
                kind=kind,
                event=event,
                seed=seed,
                frames=frames,
                share=share,
                before=before,
                after=after,
                shown=shown,
            )
        )
    return made


def reference_frames(scene: Scene, seed: int) -> NDArray[np.uint8]:
    """REFERENCE frames of nothing but a scene, its subject on another way than in the clips."""
    rng = np.random.default_rng([FIRST_SEED, seed, REFERENCE_STREAM])
    return draw([(0, scene)], Mover.start(rng, scene).travel(REFERENCE))


def shares(kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """How much of each frame [BEFORE + AFTER] is the new scene in a clip of a kind; raises ValueError for others."""
    wait = int(rng.integers(4, LONGEST + 1))
    frame = np.arange(AFTER)
    after = {
        "at once": np.ones(AFTER),
        "wrong scene": np.ones(AFTER),
        "never": np.zeros(AFTER),
        "delayed": frame >= wait,
        "fading": np.minimum((frame + 1) / wait, 1),
        "flicker": frame // FLICKER % 2 == 0,
        "relapse": frame < wait,
        **{name: np.full(AFTER, 1 - opacity) for name, opacity in zip(GHOSTS, OPACITIES)},
    }
    if kind not in after:
        raise ValueError(f"there are no clips of kind {kind!r}; take one of {', '.join(KINDS)}.")
    return np.concatenate([np.zeros(BEFORE), after[kind]])


def mixed(old: NDArray[np.uint8], new: NDArray[np.uint8], share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Frames [T,H,W,3] with `share` [T] of the new ones."""
    weight = share[:, None, None, None]
    return np.round(old * (1 - weight) + new * weight).astype(np.uint8)


def wrong_scene(event: str, before: Scene, after: Scene, rng: np.random.Generator) -> Scene:
    """A scene that differs from the one asked for in a single respect, and is not the old one."""
    if event == "disappear" and before.subject is not None:
        return replace(before, subject=_recoloured(before.subject, before, rng))
    if event in ("background", "night"):
        places = [place for place in BACKGROUNDS if place not in (before.background, after.background)]
        return replace(after, background=places[rng.integers(len(places))])
    if after.subject is None:
        return replace(after, night=not after.night)
    if event != "colour" and rng.integers(2):
        shapes = [shape for shape in SHAPES if shape != after.subject.shape]
        return replace(after, subject=replace(after.subject, shape=shapes[rng.integers(len(shapes))]))
    return replace(after, subject=_recoloured(after.subject, before, rng))


def loses_subject(before: Scene, after: Scene) -> bool:
    """Whether the old subject, as its shape and colour say, should not be seen any more."""
    old, new = before.subject, after.subject
    return old is not None and (new is None or (new.shape, new.colour) != (old.shape, old.colour))


def neighbours(scene: Scene) -> list[Scene]:
    """All scenes that differ in one respect: place, time of day, the subject's shape or colour, or its presence."""
    subject = scene.subject
    made = [replace(scene, background=place) for place in BACKGROUNDS if place != scene.background]
    made.append(replace(scene, night=not scene.night))
    if subject is None:
        others = [Subject(shape, colour, "large") for shape in SHAPES for colour in COLOURS]
    else:
        others = [replace(subject, shape=shape) for shape in SHAPES if shape != subject.shape]
        others += [replace(subject, colour=colour) for colour in COLOURS if colour != subject.colour]
        made.append(replace(scene, subject=None))
    return made + [replace(scene, subject=other) for other in others]


def _recoloured(subject: Subject, before: Scene, rng: np.random.Generator) -> Subject:
    taken = {subject.colour, before.subject.colour if before.subject else None}
    colours = [colour for colour in COLOURS if colour not in taken]
    return replace(subject, colour=colours[rng.integers(len(colours))])
