"""How much of a named subject is seen in each frame: from nothing, through a ghost, to the whole subject."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detector.fitting import Fit, fit_subject, in_sight
from .detector.reading import Detection
from .detector.scenes import nearest_scene
from .detector.single import detect_by, detection_of, difference_beside, difference_to
from .detector.templates import FIRST, TEMPLATES, overlap_of
from .world import COLOURS, SIZE

RIVAL = 1.05  # times what the named subject explains: more by another one, and it is that one
CLEAR = 0.8  # share of the difference around another subject that it explains: what lies beside such a one is looked at alone
MARGIN = 4  # px around a subject in which what it leaves unexplained counts against it

Array = NDArray[Any]


def presence(frames: Any, wanted: Array) -> Detection:
    """Detect the `wanted` subjects, bool [8 templates, 6 colours], in frames as `detect` takes them.

    `score` is their opacity in 0..1, by least squares, times the share of the difference around them that they
    explain so: a ghost of half opacity has about 0.5. It is 0 where another subject explains more, unless that one is
    clearly drawn and they lie beside it.
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
    found, beaten = _named_in(difference, scene, wanted)
    if beaten.any():
        rival = fit_subject(difference, scene)
        rest = difference_beside(frames, scene, rival)
        beside, _ = _named_in(rest, scene, wanted, ~rival.covered())
        found = _chosen(beaten & (rival.score > CLEAR), beside, found)
    return replace(detection_of(found, scene), present=found.score > 0)


def _named_in(difference: Array, scene: Array, wanted: Array, seen: Array | None = None) -> tuple[Fit, Array]:
    """The best of the wanted subjects, and whether another one explains more, bool [T]; arguments as `fit_subject` takes them."""
    difference, drawn, possible = in_sight(difference, scene, seen)
    overlap = overlap_of(difference, scene)
    ratio = overlap / np.where(np.isfinite(possible), drawn, 1)
    strength = np.clip(ratio, 0, 1)
    gain = strength * (2 * overlap - strength * drawn) + possible
    rival = gain.reshape(len(gain), -1).max(1)
    gain = np.where(wanted[:, :, None, None], gain, -np.inf)
    best = np.unravel_index(gain.reshape(len(gain), -1).argmax(1), gain.shape[1:])
    template, colour, row, column = best
    place = (np.arange(len(gain)), *best)
    explained, opacity = gain[place], np.clip(ratio[place], 0, 1)
    around = np.maximum(_energy_around(difference, row + FIRST, column + FIRST), 1e-9)
    beaten = rival > RIVAL * explained
    fit = Fit(
        template=template,
        colour=colour,
        row=row + FIRST,
        column=column + FIRST,
        x=(FIRST + column).astype(float),
        y=(FIRST + row).astype(float),
        score=np.where(beaten, 0.0, opacity * np.clip(explained / around, 0, 1)),
    )
    return fit, beaten


def _chosen(where: Array, one: Fit, other: Fit) -> Fit:
    """The fit `one` of some frames, bool [T], and the `other` of the rest."""
    names = [field.name for field in fields(Fit)]
    return Fit(**{name: np.where(where, getattr(one, name), getattr(other, name)) for name in names})


def _energy_around(difference: Array, row: Array, column: Array) -> Array:
    """The difference's square in the neighbourhood of a place, [T]."""
    reach = np.arange(-FIRST - MARGIN, FIRST + MARGIN)
    rows, columns = (np.clip(centre[:, None] + reach, 0, SIZE - 1) for centre in (row, column))
    patches = difference[np.arange(len(row))[:, None, None], rows[:, :, None], columns[:, None, :]]
    energy: Array = np.square(patches).sum((-3, -2, -1))
    return energy
