"""How subjects of the embedded world move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scenes import Scene
from .tables import DIRECTIONS, FAST, MOTIONS, SIZE, SUBPIXELS

SLOW_SPEED, FAST_SPEED, PASSING_SPEED = (0.45, 0.7), (2.2, 2.8), (1.1, 1.5)  # px a frame
PASSING_WAY = (0.3, 0.7)  # how much of its box lies before a subject that is to pass an edge
OUT_OF_SIGHT = 2.0  # px beyond the edge where it turns back
INERTIA = 4.0  # frames in which the difference to the wanted velocity falls to 1/e
MARGIN = 2.0  # px that stay free between a subject and the border

Array = NDArray[Any]


@dataclass(kw_only=True)
class Mover:
    """A body with inertia in a box from `low` to `high` [2] px: it turns back, softly, before the box's borders.

    `motions` are those that it may turn to.
    """

    low: Array
    high: Array
    position: Array
    velocity: Array
    wanted: Array
    motions: tuple[str, ...] = MOTIONS

    @classmethod
    def start(cls, rng: np.random.Generator, scene: Scene) -> Mover:
        """Place a scene's subject in the whole picture so that it has most of its way before it."""
        half = (scene.subject.pixels if scene.subject else 0) / 2 + MARGIN
        return cls.start_in(rng, scene.motion, np.full(2, half), np.full(2, SIZE - half))

    @classmethod
    def start_in(cls, rng: np.random.Generator, motion: str, low: Array, high: Array) -> Mover:
        """Place a body that moves as said in a box so that it has most of its way before it."""
        mover = cls(
            low=low, high=high, position=rng.uniform(low, high), velocity=np.zeros(2), wanted=np.zeros(2)
        )
        mover.aim(rng, motion)
        mover.velocity = mover.wanted.copy()
        gone = rng.uniform(0, 0.25) * (mover.high - mover.low)
        ahead = np.where(mover.wanted > 0, mover.low + gone, mover.high - gone)
        mover.position = np.where(mover.wanted == 0, mover.position, ahead)
        return mover

    def pass_edge(self, rng: np.random.Generator, half: float) -> None:
        """Move on through the picture's edge ahead, until a subject of this half width is out of sight, and come back."""
        forward, moves = self.wanted > 0, self.wanted != 0
        self.wanted = np.sign(self.wanted) * rng.uniform(*PASSING_SPEED)
        self.velocity = self.wanted.copy()
        way = rng.uniform(*PASSING_WAY) * (self.high - self.low)
        start = np.where(forward, self.high - way, self.low + way)
        self.position = np.where(moves, start, self.position)
        self.high = np.where(moves & forward, SIZE + half + OUT_OF_SIGHT, self.high)
        self.low = np.where(moves & ~forward, -half - OUT_OF_SIGHT, self.low)

    def aim(self, rng: np.random.Generator, motion: str) -> None:
        """Want the velocity of a motion from now on."""
        fast, way = motion in FAST, rng.integers(2)
        direction = FAST[motion][way] if fast else motion
        speed = rng.uniform(*(FAST_SPEED if fast else SLOW_SPEED))
        self.wanted = speed * np.array(DIRECTIONS.get(direction, (0, 0)), float)

    def turn(self, rng: np.random.Generator, old: str) -> str:
        """Aim at another motion than `old`, one that there is room for, and return it."""
        room = {
            way: np.where(np.array(unit) > 0, self.high - self.position, self.position - self.low)[
                int(unit[1] != 0)
            ]
            for way, unit in DIRECTIONS.items()
        }
        motions = [motion for motion in self.motions if motion != old and room.get(motion, 99.0) > 12]
        motion = motions[rng.integers(len(motions))]
        self.aim(rng, motion)
        return motion

    def travel(self, frames: int) -> Array:
        """Move on for `frames` frames and return the positions before each move, [frames,2]."""
        path = np.empty((frames, 2))
        for frame in range(frames):
            path[frame] = self.position
            # A reversal overshoots by speed * INERTIA * (1 - ln 2): turn that much before the border.
            early = np.abs(self.wanted) * INERTIA * (1 - np.log(2))
            ahead = np.where(self.wanted > 0, self.high - self.position, self.position - self.low)
            self.wanted = np.where(ahead <= early, -self.wanted, self.wanted)
            self.velocity = self.velocity + (self.wanted - self.velocity) / INERTIA
            self.position = np.clip(self.position + self.velocity, self.low, self.high)
        return np.round(path * SUBPIXELS) / SUBPIXELS
