"""How much of a named subject is seen in each frame: from nothing, through a ghost, to the whole subject."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detector.fitting import Fit
from .detector.reading import Detection
from .detector.scenes import nearest_scene
from .detector.single import detect_by, detection_of, difference_to
from .detector.templates import FIRST, TEMPLATES, drawn_energy, outside, overlap_of
from .world import COLOURS, SIZE

RIVAL = 1.05  # times what the named subject explains: more by another one, and it is that one
MARGIN = 4  # px around a subject in which what it leaves unexplained counts against it

Array = NDArray[Any]


def presence(frames: Any, wanted: Array) -> Detection:
    """Detect the `wanted` subjects, bool [8 templates, 6 colours], in frames as `detect` takes them.

    `score` is their opacity in 0..1, by least squares, times the share of the difference around them that they
    explain so: a ghost of half opacity has about 0.5. It is 0 where another subject explains more.
    """
    (found,) = detect_by(lambda chunk: (_presence(chunk, wanted),), frames)
    return found


def wanted_subjects(shapes: set[str], colours: set[str], sizes: set[str]) -> Array:
    """Which of the templates and colours, bool [8,6], have one of these names; an empty set leaves that free."""
    templates = [
        (not shapes or shape in shapes) and (not sizes or size in sizes) for shape, size in TEMPLATES
    ]
    named = [not colours or colour in colours for colour in COLOURS]
    return np.outer(templates, named)


def _presence(frames: Array, wanted: Array) -> Detection:
    scene = nearest_scene(frames)
    difference = difference_to(frames, scene)
    drawn, possible = drawn_energy()[scene], outside()
    overlap = overlap_of(difference, scene)
    ratio = overlap / np.where(np.isfinite(possible), drawn, 1)
    strength = np.clip(ratio, 0, 1)
    gain = strength * (2 * overlap - strength * drawn) + possible
    rival = gain.reshape(len(frames), -1).max(1)
    gain = np.where(wanted[:, :, None, None], gain, -np.inf)
    template, colour, row, column = best = np.unravel_index(
        gain.reshape(len(frames), -1).argmax(1), gain.shape[1:]
    )
    place = (np.arange(len(frames)), *best)
    explained, opacity = gain[place], np.clip(ratio[place], 0, 1)
    share = np.clip(
        explained / np.maximum(_energy_around(difference, row + FIRST, column + FIRST), 1e-9), 0, 1
    )
    fit = Fit(
        template=template,
        colour=colour,
        row=row + FIRST,
        column=column + FIRST,
        x=(FIRST + column).astype(float),
        y=(FIRST + row).astype(float),
        score=np.where(rival > RIVAL * explained, 0.0, opacity * share),
    )
    return replace(detection_of(fit, scene), present=fit.score > 0)


def _energy_around(difference: Array, row: Array, column: Array) -> Array:
    """The difference's square in the neighbourhood of a place, [T]."""
    reach = np.arange(-FIRST - MARGIN, FIRST + MARGIN)
    rows, columns = (np.clip(centre[:, None] + reach, 0, SIZE - 1) for centre in (row, column))
    patches = difference[np.arange(len(row))[:, None, None], rows[:, :, None], columns[:, None, :]]
    energy: Array = np.square(patches).sum((-3, -2, -1))
    return energy
