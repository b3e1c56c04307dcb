"""The embedded model's world: small scenes with prompts in plain English, drawn with their ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 64
FPS = 30

BACKGROUNDS = ("sky", "desert", "forest", "sea", "city")
SHAPES = ("circle", "square", "triangle", "star")
COLOURS = {
    "red": (0.90, 0.10, 0.12),
    "yellow": (1.00, 0.86, 0.08),
    "green": (0.12, 0.80, 0.22),
    "blue": (0.12, 0.22, 0.95),
    "pink": (1.00, 0.36, 0.80),
    "white": (0.97, 0.97, 0.97),
}
SIZES = {"small": 28, "large": 36}
MOTIONS = ("still", "left", "right", "up", "down", "sideways", "vertical")
EVENTS = ("none", "disappear", "appear", "colour", "background", "night", "cut", "motion")

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
FAST = {"sideways": ("left", "right"), "vertical": ("up", "down")}
SLOW_SPEED, FAST_SPEED = (0.45, 0.7), (2.2, 2.8)  # px a frame
INERTIA = 4.0  # frames in which the difference to the wanted velocity falls to 1/e
LOOK_AHEAD = 12  # frames over which it is judged where a subject goes
MARGIN = 2.0  # px that stay free between a subject and the border
EMPTY_SHARE = 0.15
NEED_SUBJECT = ("disappear", "appear", "colour", "cut", "motion")
SUBPIXELS = 8  # positions are multiples of 1/8 px, so that sprites are drawn once for each of 8 x 8 offsets
OUTLINE = 1.5  # px
PAD = 6  # px around the picture that drawing may touch
INK = {False: (0.07, 0.07, 0.12), True: (0.93, 0.93, 0.98)}  # of the outline, by day and by night

Array = NDArray[Any]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Subject:
    """What moves: a key of SHAPES, one of COLOURS and one of SIZES."""

    shape: str
    colour: str
    size: str

    def __post_init__(self) -> None:
        _check("shape", self.shape, SHAPES)
        _check("colour", self.colour, COLOURS)
        _check("size", self.size, SIZES)

    @property
    def pixels(self) -> int:
        """Width in pixels."""
        return SIZES[self.size]


@dataclass(frozen=True)
class Scene:
    """What is seen; `motion` is one of MOTIONS and means nothing without a subject."""

    background: str
    night: bool
    subject: Subject | None = None
    motion: str = "still"

    def __post_init__(self) -> None:
        _check("background", self.background, BACKGROUNDS)
        _check("motion", self.motion, MOTIONS)


@dataclass(frozen=True, eq=False)
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

    def section_prompts(
        self, window_frames: int = 36, offset: int = 1, rng: np.random.Generator | None = None
    ) -> list[str]:
        """One prompt (see `prompt_of`) for each whole section of `window_frames` frames from `offset` on."""
        starts = range(offset, len(self.frames) - window_frames + 1, window_frames)
        return [prompt_of(self.scene_at(start), rng) for start in starts]


# Prompts

PLACES = {
    "sky": ("in the sky", "across the sky"),
    "desert": ("over the desert", "in the desert"),
    "forest": ("in the forest", "through the forest"),
    "sea": ("over the sea", "above the sea"),
    "city": ("over the city", "above the city"),
}
TIMES = {False: ("by day", "in daylight", "during the day"), True: ("at night", "by night", "in the dark")}
SIZE_WORDS = {"small": ("small", "little", ""), "large": ("large", "big", "")}
VERBS = ("moves", "glides", "drifts", "travels")
WAYS = {
    "left": ("left", "to the left", "leftwards"),
    "right": ("right", "to the right", "rightwards"),
    "up": ("up", "upwards"),
    "down": ("down", "downwards"),
}
ACTIONS = {
    "still": ("stands still", "does not move", "stays where it is"),
    "sideways": ("races from side to side", "dashes left and right", "moves fast from side to side"),
    "vertical": ("races up and down", "dashes up and down", "moves fast up and down"),
}
SENTENCES = (
    "{subject} {action} {place} {time}",
    "{subject} {action} {place}, {time}",
    "{time}, {subject} {action} {place}",
    "{place} {time}, {subject} {action}",
    "{time} {subject} {action} {place}",
)
EMPTY_SENTENCES = (
    "{empty} {time}",
    "{time}, {empty}",
    "{empty}, {time}",
    "nothing but the {background} {time}",
)


def prompt_of(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """Say a scene in plain English: always the same canonical sentence, or with `rng` one of many."""

    def choose(options: tuple[str, ...]) -> str:
        return options[0] if rng is None else options[rng.integers(len(options))]

    time, article = choose(TIMES[scene.night]), choose(("an empty", "an empty", "a deserted"))
    if scene.subject is None:
        empty = f"{article} {scene.background}"
        return choose(EMPTY_SENTENCES).format(empty=empty, time=time, background=scene.background)
    size = choose(SIZE_WORDS[scene.subject.size])
    subject = " ".join(word for word in ("a", size, scene.subject.colour, scene.subject.shape) if word)
    if scene.motion in DIRECTIONS:
        action = f"{choose(VERBS)} {choose(WAYS[scene.motion])}"
    else:
        action = choose(ACTIONS[scene.motion])
    place = choose(PLACES[scene.background])
    return choose(SENTENCES).format(subject=subject, action=action, place=place, time=time)


# Clips


def random_scene(rng: np.random.Generator, empty: bool | None = None, **fixed: Any) -> Scene:
    """Draw a scene; `fixed` may hold background, night, motion, and shape, colour and size or a subject."""
    unknown = fixed.keys() - {"background", "night", "motion", "shape", "colour", "size", "subject"}
    if unknown:
        raise ValueError(
            f"A scene has no {', '.join(sorted(unknown))}: fix background, night, motion, "
            "shape, colour, size or subject."
        )

    def choose(name: str, options: Any) -> Any:
        drawn = list(options)[rng.integers(len(options))]
        return fixed.get(name, drawn)

    drawn = Subject(choose("shape", SHAPES), choose("colour", COLOURS), choose("size", SIZES))
    is_empty = rng.random() < EMPTY_SHARE
    if empty is None:
        empty = is_empty and not fixed.keys() & {"shape", "colour", "size", "subject", "motion"}
    subject = None if empty else fixed.get("subject", drawn)
    return Scene(
        choose("background", BACKGROUNDS),
        bool(choose("night", (False, True))),
        subject,
        choose("motion", MOTIONS),
    )


def make_clip(
    seed: int, frames: int, event: str = "none", switch_frame: int | None = None, **fixed: Any
) -> Clip:
    """Draw a clip of `frames` frames in which `event` happens, abruptly, at `switch_frame`.

    The clip depends on its arguments alone. Without `switch_frame` the event falls into the middle half.
    `fixed` (see `random_scene`, and empty: bool) holds for the scene before the event, or for the subject
    that appears. Raises ValueError when the event or the frame cannot be.
    """
    _check("event", event, EVENTS)
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
    return Clip(draw(scenes, positions), tuple(scenes), positions, presence, event, switch_frame)


def _change(rng: np.random.Generator, event: str, scene: Scene, mover: Mover) -> tuple[Scene, Mover]:
    """The scene after an event, and who moves in it."""
    subject = scene.subject
    if event == "cut":
        background, colour, shape = (
            _other(rng, options, old)
            for options, old in (
                (BACKGROUNDS, scene.background),
                (COLOURS, subject and subject.colour),
                (SHAPES, subject and subject.shape),
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


def _check(name: str, value: str, options: Iterable[str]) -> None:
    if value not in options:
        raise ValueError(f"The world has no {name} {value!r}: take one of {', '.join(options)}.")


# Motion


@dataclass
class Mover:
    """A body with inertia in a box [low, high] (px, both axes): it turns back, softly, before the borders."""

    low: float
    high: float
    position: Array
    velocity: Array
    wanted: Array

    @classmethod
    def start(cls, rng: np.random.Generator, scene: Scene) -> Mover:
        """Place a scene's subject so that it has most of its way before it."""
        half = (scene.subject.pixels if scene.subject else 0) / 2 + MARGIN
        mover = cls(half, SIZE - half, rng.uniform(half, SIZE - half, 2), np.zeros(2), np.zeros(2))
        mover.aim(rng, scene.motion)
        mover.velocity = mover.wanted.copy()
        gone = rng.uniform(0, 0.25) * (mover.high - mover.low)
        ahead = np.where(mover.wanted > 0, mover.low + gone, mover.high - gone)
        mover.position = np.where(mover.wanted == 0, mover.position, ahead)
        return mover

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
        motions = [motion for motion in MOTIONS if motion != old and room.get(motion, 99.0) > 12]
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


# Drawing


def render(scene: Scene, x: float = SIZE / 2, y: float = SIZE / 2) -> Array:
    """Draw a scene with its subject's centre at (x, y) px: uint8 [64,64,3]."""
    return draw([(0, scene)], np.array([[x, y]]))[0]


def draw(scenes: Sequence[tuple[int, Scene]], positions: Array) -> Array:
    """Draw frames uint8 [T,64,64,3] of scenes by first frame, the subjects at `positions` [T,2] px."""
    ends = [first for first, _ in scenes[1:]] + [len(positions)]
    parts = [_draw_scene(scene, positions[first:end]) for (first, scene), end in zip(scenes, ends)]
    return np.concatenate(parts)


def _draw_scene(scene: Scene, positions: Array) -> Array:
    plain = np.pad(background_pixels(scene.background, scene.night), ((PAD, PAD), (PAD, PAD), (0, 0)))
    frames = np.repeat(np.round(plain[None] * 255).astype(np.uint8), len(positions), axis=0)
    if scene.subject is not None:
        _draw_subject(frames, plain, scene.subject, INK[scene.night], positions)
    return np.ascontiguousarray(frames[:, PAD:-PAD, PAD:-PAD])


def _draw_subject(
    frames: Array, plain: Array, subject: Subject, ink: tuple[float, float, float], positions: Array
) -> None:
    half = subject.pixels / 2
    if positions.size and (positions.min() < half or positions.max() > SIZE - half):
        raise ValueError(
            f"A {subject.size} subject {2 * half:g} px wide would leave the picture at "
            f"{positions.min():g}..{positions.max():g}: keep its centre between {half:g} and "
            f"{SIZE - half:g}."
        )
    fills, silhouettes = masks(subject.shape, subject.pixels)
    patch = fills.shape[-1]
    eighths = np.round(positions * SUBPIXELS).astype(int)
    corner, phase = eighths // SUBPIXELS - patch // 2 + PAD, eighths % SUBPIXELS
    rows, columns = (corner[:, axis, None] + np.arange(patch) for axis in (1, 0))
    rows, columns = rows[:, :, None], columns[:, None, :]
    fill, silhouette = (table[phase[:, 1], phase[:, 0], :, :, None] for table in (fills, silhouettes))
    shade = np.linspace(1.12, 0.84, patch, dtype=np.float32)[:, None, None]  # light comes from above
    colour = np.clip(np.asarray(COLOURS[subject.colour], np.float32) * shade, 0, 1)
    mixed = plain[rows, columns] * (1 - silhouette) + np.float32(ink) * (silhouette - fill) + colour * fill
    frames[np.arange(len(positions))[:, None, None], rows, columns] = np.round(mixed * 255).astype(np.uint8)


def _polygon(corners: Sequence[tuple[float, float]]) -> Callable[[Array, Array], Array]:
    def distance(x: Array, y: Array) -> Array:
        nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, bool)
        for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0])):
            dx, dy = x1 - x0, y1 - y0
            along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
            nearest = np.minimum(nearest, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * dx / (dy or 1.0))
        return np.where(inside, -nearest, nearest)

    return distance


def _star(points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    angles = np.pi * np.arange(2 * points) / points
    radii = np.where(np.arange(2 * points) % 2, inner, outer)
    return [(float(r * np.sin(a)), float(-r * np.cos(a))) for r, a in zip(radii, angles)]


# Signed distance to the border of each shape, as wide as the unit and negative inside.
DISTANCES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.49,
    "square": _polygon([(-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45)]),
    "triangle": _polygon([(-0.5, 0.44), (0.0, -0.48), (0.5, 0.44)]),
    "star": _polygon(_star(4, 0.5, 0.22)),
}


@lru_cache(maxsize=None)
def masks(shape: str, pixels: int) -> tuple[Array, Array]:
    """Coverage of a shape without and with its outline, each [8 y,8 x,P,P] by its centre's subpixel."""
    patch = pixels + 4 + pixels % 2
    offsets = np.arange(SUBPIXELS) / SUBPIXELS
    grid = np.arange(patch) + 0.5 - patch // 2 - offsets[:, None]
    y, x = np.broadcast_arrays(grid[:, None, :, None], grid[None, :, None, :])
    distance = DISTANCES[shape](x / pixels, y / pixels) * pixels
    fill, silhouette = (np.clip(0.5 - distance - inset, 0, 1).astype(np.float32) for inset in (OUTLINE, 0.0))
    return fill, silhouette


# Backgrounds

FINE = 4  # a background is painted at this multiple of its size and averaged


class Canvas:
    """A picture float [256,256,3] in 0..1 to paint on; x and y run from 0 to 1, edges are soft by a pixel."""

    def __init__(self, top: Colour, bottom: Colour) -> None:
        axis = (np.arange(SIZE * FINE, dtype=np.float32) + 0.5) / (SIZE * FINE)
        self.y, self.x = np.meshgrid(axis, axis, indexing="ij")
        self.pixels = self._blend(top, bottom, self.y)

    @staticmethod
    def _blend(first: Colour, second: Colour, share: Array) -> Array:
        return np.float32(first) * (1 - share[..., None]) + np.float32(second) * share[..., None]

    def paint(self, colour: Colour, coverage: Array, bottom: Colour | None = None) -> None:
        """Lay a colour (running to `bottom` at the lower border) over the picture where `coverage` is 1."""
        paint = self._blend(colour, bottom or colour, self.y)
        self.pixels = self.pixels + (paint - self.pixels) * coverage[..., None]

    def below(self, edge: Array | float) -> Array:
        """Coverage of what lies lower than `edge` (y)."""
        return np.clip((self.y - edge) * SIZE + 0.5, 0, 1)

    def disc(self, x: float, y: float, radius: float) -> Array:
        """Coverage of a disc."""
        return np.clip((radius - np.hypot(self.x - x, self.y - y)) * SIZE + 0.5, 0, 1)

    def glow(self, x: float, y: float, width: float, height: float) -> Array:
        """Coverage of a soft spot."""
        return np.exp(-(((self.x - x) / width) ** 2) - ((self.y - y) / height) ** 2)

    def box(self, left: float, top: float, right: float, bottom: float) -> Array:
        """Coverage of a rectangle."""
        across, along = np.minimum(self.x - left, right - self.x), np.minimum(self.y - top, bottom - self.y)
        inside = np.minimum(across, along)
        return np.clip(inside * SIZE + 0.5, 0, 1)

    def lamp(self, night: bool, x: float, y: float) -> None:
        """The sun by day, the moon by night."""
        if night:
            self.paint((0.45, 0.48, 0.66), 0.5 * self.glow(x, y, 0.14, 0.14))
            self.paint((0.90, 0.90, 0.80), self.disc(x, y, 0.07) * (1 - self.disc(x + 0.05, y - 0.025, 0.06)))
        else:
            self.paint((1.0, 0.96, 0.78), 0.8 * self.glow(x, y, 0.17, 0.17))
            self.paint((1.0, 0.97, 0.82), self.disc(x, y, 0.075))

    def stars(self, spots: Sequence[tuple[float, float]]) -> None:
        """Small stars, soft enough to survive compression."""
        for x, y in spots:
            self.paint((0.85, 0.87, 1.0), 0.8 * self.glow(x, y, 0.016, 0.016))


# Colours of the picture at its top and bottom, before anything else is painted.
HEAVENS = {
    ("sky", False): ((0.34, 0.62, 0.90), (0.78, 0.89, 0.96)),
    ("sky", True): ((0.05, 0.06, 0.22), (0.20, 0.20, 0.44)),
    ("desert", False): ((0.98, 0.86, 0.62), (0.98, 0.93, 0.80)),
    ("desert", True): ((0.09, 0.06, 0.17), (0.34, 0.17, 0.26)),
    ("forest", False): ((0.74, 0.88, 0.84), (0.86, 0.94, 0.86)),
    ("forest", True): ((0.05, 0.10, 0.16), (0.09, 0.18, 0.22)),
    ("sea", False): ((0.66, 0.85, 0.93), (0.99, 0.97, 0.90)),
    ("sea", True): ((0.05, 0.06, 0.16), (0.16, 0.22, 0.36)),
    ("city", False): ((0.80, 0.80, 0.86), (0.95, 0.90, 0.86)),
    ("city", True): ((0.10, 0.07, 0.18), (0.46, 0.24, 0.34)),
}


def _sky(night: bool) -> Canvas:
    canvas = Canvas(*HEAVENS["sky", night])
    if night:
        canvas.stars([(0.10, 0.52), (0.36, 0.10), (0.50, 0.36), (0.66, 0.14), (0.88, 0.26), (0.78, 0.52)])
    canvas.lamp(night, 0.17, 0.19)
    cloud, strength = ((0.30, 0.31, 0.52), 0.7) if night else ((0.98, 0.98, 1.0), 0.95)
    clouds = (
        (0.68, 0.38, 0.20),
        (0.84, 0.40, 0.14),
        (0.26, 0.74, 0.20),
        (0.42, 0.77, 0.15),
        (0.86, 0.86, 0.20),
    )
    for x, y, width in clouds:
        canvas.paint(cloud, strength * canvas.glow(x, y, width, 0.36 * width))
    return canvas


def _desert(night: bool) -> Canvas:
    canvas = Canvas(*HEAVENS["desert", night])
    if night:
        canvas.stars([(0.15, 0.12), (0.36, 0.25), (0.52, 0.10), (0.92, 0.32)])
    canvas.lamp(night, 0.76, 0.18)
    dunes = (
        (0.48 + 0.06 * np.sin(5.0 * canvas.x + 0.4), (0.89, 0.66, 0.42), (0.38, 0.25, 0.22)),
        (0.62 + 0.09 * np.sin(6.0 * canvas.x + 2.6), (0.80, 0.53, 0.30), (0.30, 0.18, 0.16)),
        (0.82 + 0.07 * np.sin(5.5 * canvas.x + 5.2), (0.69, 0.42, 0.23), (0.22, 0.12, 0.11)),
    )
    for edge, day, dark in dunes:
        canvas.paint(dark if night else day, canvas.below(edge))
    return canvas


def _forest(night: bool) -> Canvas:
    canvas = Canvas(*HEAVENS["forest", night])
    canvas.lamp(night, 0.82, 0.13)
    rows = (
        (0.34, 0.16, 0.16, 0.03, (0.50, 0.68, 0.54), (0.09, 0.26, 0.20)),
        (0.46, 0.22, 0.21, 0.11, (0.33, 0.52, 0.38), (0.06, 0.20, 0.14)),
        (0.62, 0.26, 0.29, 0.02, (0.20, 0.37, 0.26), (0.03, 0.13, 0.08)),
    )
    for edge, height, width, shift, day, dark in rows:
        teeth = np.abs((canvas.x + shift) / width % 1 - 0.5)  # 0 at a tree's tip
        canvas.paint(dark if night else day, canvas.below(edge + height * (2 * teeth) ** 0.8 - 0.1))
    ground = canvas.below(0.88 + 0.02 * np.sin(7 * canvas.x))
    canvas.paint((0.07, 0.12, 0.06) if night else (0.34, 0.42, 0.24), ground)
    return canvas


def _sea(night: bool) -> Canvas:
    canvas = Canvas(*HEAVENS["sea", night])
    canvas.lamp(night, 0.30, 0.16)
    water = ((0.07, 0.33, 0.42), (0.02, 0.14, 0.24)) if night else ((0.22, 0.66, 0.70), (0.03, 0.36, 0.46))
    canvas.paint(water[0], canvas.below(0.40), water[1])
    foam = (0.25, 0.45, 0.52) if night else (0.62, 0.88, 0.88)
    waves = ((0.47, 0.0, 0.012), (0.58, 2.0, 0.016), (0.71, 4.0, 0.020), (0.87, 1.0, 0.024))
    for y, phase, thickness in waves:
        crest = y + 0.02 * np.sin(2 * np.pi * (2 - y) * 2 * canvas.x + phase)
        canvas.paint(foam, 0.6 * np.exp(-(((canvas.y - crest) / thickness) ** 2)))
    if night:
        canvas.paint((0.55, 0.60, 0.66), 0.5 * canvas.glow(0.30, 0.52, 0.06, 0.12) * canvas.below(0.40))
    return canvas


# Left, width and top of buildings, the far row and the near one.
FAR_HOUSES = (
    (0.00, 0.14, 0.40),
    (0.16, 0.12, 0.26),
    (0.30, 0.16, 0.44),
    (0.48, 0.11, 0.22),
    (0.61, 0.17, 0.36),
    (0.80, 0.20, 0.30),
)
NEAR_HOUSES = ((-0.02, 0.22, 0.62), (0.23, 0.20, 0.50), (0.46, 0.25, 0.66), (0.74, 0.28, 0.54))


def _city(night: bool) -> Canvas:
    canvas = Canvas(*HEAVENS["city", night])
    canvas.lamp(night, 0.40, 0.12)
    for left, width, top in FAR_HOUSES:
        house = canvas.box(left, top, left + width, 1.1)
        canvas.paint((0.24, 0.16, 0.30) if night else (0.66, 0.64, 0.70), house)
    for left, width, top in NEAR_HOUSES:
        house = canvas.box(left, top, left + width, 1.1)
        canvas.paint((0.09, 0.08, 0.13) if night else (0.45, 0.44, 0.51), house)
        for row in range(2):
            for column in range(2):
                x, y = left + width * (0.30 + 0.40 * column), top + 0.09 + 0.13 * row
                window = canvas.box(x - 0.034, y - 0.034, x + 0.034, y + 0.034)
                canvas.paint((0.96, 0.78, 0.42) if night else (0.72, 0.80, 0.86), window)
    canvas.paint((0.05, 0.05, 0.08) if night else (0.30, 0.30, 0.34), canvas.below(0.93))
    return canvas


PAINTERS: dict[str, Callable[[bool], Canvas]] = {
    "sky": _sky,
    "desert": _desert,
    "forest": _forest,
    "sea": _sea,
    "city": _city,
}


@lru_cache(maxsize=None)
def background_pixels(background: str, night: bool) -> Array:
    """An empty scene, float [64,64,3] in 0..1; do not write to it."""
    _check("background", background, BACKGROUNDS)
    fine = np.clip(PAINTERS[background](night).pixels, 0, 1)
    pixels = fine.reshape(SIZE, FINE, SIZE, FINE, 3).mean((1, 3)).astype(np.float32)
    pixels.flags.writeable = False
    return pixels
