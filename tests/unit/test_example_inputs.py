"""The embedded model's start images are pictures of its world: this table is how they were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from framepack_transitions.headless.files.media import read_video
from framepack_transitions.tiny.detector import agrees, detect
from framepack_transitions.tiny.world import Scene, Subject, draw, render
from PIL import Image

PACK = Path(__file__).parents[2]
INPUT, SUITE = PACK / "example_workflows" / "input", PACK / "benchmarks" / "suites" / "shipped" / "images"
RED_CIRCLE = Scene("sky", False, Subject("circle", "red", "large"))


def scene(place: str, time: str, shape: str, colour: str, size: str) -> Scene:
    return Scene(place, time == "night", Subject(shape, colour, size))


PICTURES = {
    INPUT / "framepack_transitions_start.png": (RED_CIRCLE, 20, 34),
    INPUT / "framepack_transitions_end.png": (RED_CIRCLE, 44, 34),
    INPUT / "framepack_transitions_keyframe.png": (scene("city", "night", "star", "yellow", "large"), 40, 30),
    SUITE / "tiny_disappear.png": (scene("city", "day", "circle", "white", "large"), 22, 24),
    SUITE / "tiny_appear.png": (Scene("city", False), 32, 32),
    SUITE / "tiny_colour.png": (scene("forest", "night", "square", "white", "large"), 21, 38),
    SUITE / "tiny_background.png": (scene("sky", "day", "circle", "white", "large"), 20, 28),
    SUITE / "tiny_cut.png": (scene("sky", "day", "triangle", "blue", "small"), 46, 48),
    SUITE / "tiny_motion.png": (scene("sky", "day", "star", "white", "large"), 28, 36),
    SUITE / "tiny_control.png": (scene("sea", "night", "triangle", "green", "large"), 29, 42),
    SUITE / "tiny_sham.png": (scene("forest", "day", "circle", "yellow", "large"), 30, 44),
}


@pytest.mark.parametrize("file", PICTURES, ids=lambda file: file.stem)
def test_a_start_image_is_drawn_by_the_world(file: Path) -> None:
    assert np.array_equal(np.asarray(Image.open(file)), render(*PICTURES[file]))


def test_the_clip_to_go_on_from_shows_its_circle_going_right() -> None:
    positions = np.stack([np.linspace(20, 44, 73), np.full(73, 34.0)], axis=-1)
    frames = read_video(INPUT / "framepack_transitions_clip.mp4")[0].numpy()
    drawn = draw([(0, RED_CIRCLE)], np.round(positions * 8) / 8) / 255
    assert frames.shape == drawn.shape
    assert np.abs(frames - drawn).mean() < 0.03
    assert agrees(detect(frames), RED_CIRCLE).all()
