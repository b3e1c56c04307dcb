"""The tables of the embedded world: what it can show, and the words by which prompts say so."""

from __future__ import annotations

from collections.abc import Iterable

SIZE = 64  # px, width and height of a frame; frames of scale 2 have twice as many, positions do not
FPS = 30  # frames a second
SUBPIXELS = (
    8  # positions are multiples of 1/8 px, so that each subject is drawn once for each of 8 x 8 offsets
)

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
# Motions along x and along y.
ALONG = (("left", "right", "sideways"), ("up", "down", "vertical"))

# Words of the prompts; the first choice is the canonical one.

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
PAIR_SENTENCES = (
    "{subject} {action} and {second} {second_action} {place} {time}",
    "{subject} {action}, {second} {second_action}, {place} {time}",
    "{time}, {subject} {action} while {second} {second_action} {place}",
    "{place} {time}, {subject} {action} and {second} {second_action}",
    "{time} {place} {subject} {action} beside {second} that {second_action}",
)
EMPTY_ARTICLES = ("an empty", "an empty", "a deserted")
EMPTY_SENTENCES = (
    "{empty} {time}",
    "{time}, {empty}",
    "{empty}, {time}",
    "nothing but the {background} {time}",
)


def check(name: str, value: str, options: Iterable[str]) -> None:
    """Raise ValueError, naming the options, unless `value` is one of them."""
    if value not in options:
        raise ValueError(f"The world has no {name} {value!r}: take one of {', '.join(options)}.")
