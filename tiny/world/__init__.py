"""The embedded model's world: small scenes with prompts in plain English, drawn with their ground truth."""

from .backgrounds import background_pixels
from .clips import Clip, make_clip
from .drawing import INK, draw, masks, render
from .motion import Mover
from .pairs import with_second
from .prompts import prompt_of
from .scenes import Scene, Subject, random_scene
from .tables import (
    ALONG,
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    EVENTS,
    FAST,
    FPS,
    MOTIONS,
    SHAPES,
    SIZE,
    SIZES,
)

__all__ = [
    "ALONG",
    "BACKGROUNDS",
    "COLOURS",
    "DIRECTIONS",
    "EVENTS",
    "FAST",
    "FPS",
    "INK",
    "MOTIONS",
    "SHAPES",
    "SIZE",
    "SIZES",
    "Clip",
    "Mover",
    "Scene",
    "Subject",
    "background_pixels",
    "draw",
    "make_clip",
    "masks",
    "prompt_of",
    "random_scene",
    "render",
    "with_second",
]
