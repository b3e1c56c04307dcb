"""What the sections of a clip may be called. Imports no torch: drawing processes start with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ... import world
from .specs import SWITCHES, ClipSpec

PHRASINGS = 4


@dataclass(frozen=True)
class Texts:
    """What a section may be called: phrasings of its own scene, and of one that an event would make of it."""

    own: tuple[str, ...]
    new: tuple[str, ...]


def texts_of(spec: ClipSpec, clip: world.Clip) -> list[Texts]:
    """The texts of a clip's sections."""
    rng = np.random.default_rng([spec.seed, 2])
    scenes = [clip.scene_at(spec.first_frame(section)) for section in range(spec.sections)]

    def phrasings(scene: world.Scene) -> tuple[str, ...]:
        return tuple(world.prompt_of(scene, rng) for _ in range(PHRASINGS))

    return [Texts(phrasings(scene), phrasings(altered(scene, rng))) for scene in scenes]


def altered(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """A scene as one of the world's events would leave it; of two subjects one is concerned."""
    occupied = [slot for slot, (subject, _) in enumerate(scene.slots) if subject is not None]
    events = ["background", "night", "cut"]
    events += [event for event in SWITCHES if event not in (*events, "appear")] if occupied else []
    events += ["appear"] if len(occupied) < 2 else []
    event = events[rng.integers(len(events))]
    if event == "background":
        return replace(scene, background=_other(rng, world.BACKGROUNDS, [scene.background]))
    if event == "night":
        return replace(scene, night=not scene.night)
    if event == "cut":
        return _elsewhere(scene, rng)
    if event == "appear":
        return _joined(scene, rng)
    return _changed(scene, event, occupied[rng.integers(len(occupied))], rng)


def _changed(scene: world.Scene, event: str, slot: int, rng: np.random.Generator) -> world.Scene:
    """A scene whose subject in a slot has gone, has another colour or moves in another way."""
    subject, motion = scene.slots[slot]
    if event == "disappear" or subject is None:
        return scene.with_subject(slot, None)
    if event == "colour":
        colour = _other(rng, world.COLOURS, [shown.colour for shown, _ in scene.shown])
        return scene.with_subject(slot, replace(subject, colour=colour))
    return scene.with_motion(slot, _other(rng, world.MOTIONS, [motion]))


def _elsewhere(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """Another place with as many subjects, one at least."""
    other = world.random_scene(
        rng, empty=False, background=_other(rng, world.BACKGROUNDS, [scene.background])
    )
    return world.with_second(rng, other) if len(scene.shown) > 1 else other


def _joined(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    """A scene with one subject more."""
    if not scene.shown:
        return world.random_scene(rng, empty=False, background=scene.background, night=scene.night)
    subject, motion = scene.shown[0]
    return world.with_second(rng, replace(scene, subject=subject, motion=motion, second=None))


def _other(rng: np.random.Generator, options: Iterable[str], taken: Sequence[str]) -> str:
    others = [option for option in options if option not in taken]
    return others[rng.integers(len(others))]
