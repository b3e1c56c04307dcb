"""Fit one subject to what differs from an empty scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..world import COLOURS, SIZE
from .reading import PRESENT_SCORE
from .templates import FIRST, TEMPLATES, drawn_energy, kernels, outside, overlap_of, seen_energy

FAINTEST = 0.6  # a subject may be this transparent before it is preferred to be another one
LEAST_SEEN = 0.4  # of a subject's difference to the scene: with less in sight it is not looked for
HIDDEN = 0.05  # coverage from which a pixel belongs to a subject

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """The subject that explains most of a difference, in each of T frames: arrays [T].

    `template` and `colour` number TEMPLATES and COLOURS; `row` and `column` are its centre in whole px, `x` and `y` the same
    more finely. `score` is the share of the difference around it, or of the subject if that is more, that it explains.
    """

    template: Array
    colour: Array
    row: Array
    column: Array
    x: Array
    y: Array
    score: Array

    @property
    def looks(self) -> tuple[Array, Array, Array]:
        """Shape, colour and size by name."""
        shape, size = np.array(TEMPLATES)[self.template].T
        return shape, np.array(list(COLOURS))[self.colour], size

    @property
    def present(self) -> Array:
        """Whether there is a subject at all, bool [T]."""
        enough: Array = self.score > PRESENT_SCORE
        return enough

    def covered(self) -> Array:
        """The pixels that the subject covers, bool [T,64,64]; none where there is no subject."""
        steps = np.arange(SIZE)
        rows = (steps - self.row[:, None])[:, :, None] % SIZE
        columns = (steps - self.column[:, None])[:, None, :] % SIZE
        hidden = kernels()[1][self.template[:, None, None], rows, columns] > HIDDEN
        there: Array = hidden & self.present[:, None, None]
        return there


def fit_subject(difference: Array, scene: Array, seen: Array | None = None) -> Fit:
    """Fit a subject to a difference [T,64,64,3] to the empty scenes numbered `scene` [T].

    What is not `seen`, bool [T,64,64], counts neither for a subject nor against it; None for all.
    """
    difference, drawn, possible = in_sight(difference, scene, seen)
    rows = np.arange(len(difference))
    overlap = overlap_of(difference, scene)
    strength = np.clip(overlap / np.where(np.isfinite(possible), drawn, 1), FAINTEST, 1)
    gain = strength * (2 * overlap - strength * drawn) + possible
    best = np.unravel_index(gain.reshape(len(difference), -1).argmax(1), gain.shape[1:])
    template, colour, row, column = best
    place = (rows, *best)
    return Fit(
        template=template,
        colour=colour,
        row=row + FIRST,
        column=column + FIRST,
        x=FIRST + column + _peak(gain[rows, template, colour, row], column),
        y=FIRST + row + _peak(gain[rows, template, colour, :, column], row),
        score=np.where(
            np.isfinite(gain[place]),
            _score(
                difference, overlap=overlap[place], drawn=drawn[place], row=row + FIRST, column=column + FIRST
            ),
            0,
        ),
    )


def in_sight(difference: Array, scene: Array, seen: Array | None) -> tuple[Array, Array, Array]:
    """What counts of a difference; the square of what each subject would make of it, [T,8,6,P,P]; minus infinity where none can be.

    Arguments are those of `fit_subject`.
    """
    whole = drawn_energy()[scene]
    if seen is None:
        return difference, whole, outside()
    drawn = seen_energy(scene, seen.astype(np.float32))
    hidden = drawn < LEAST_SEEN * whole
    return difference * seen[..., None], drawn, np.where(hidden, np.float32(-np.inf), outside())


def _score(difference: Array, *, overlap: Array, drawn: Array, row: Array, column: Array) -> Array:
    """Share of the difference around a place (or of the subject, if more) that the subject explains."""
    reach = np.arange(-FIRST - 4, FIRST + 4)
    rows, columns = (np.clip(centre[:, None] + reach, 0, SIZE - 1) for centre in (row, column))
    patches = difference[np.arange(len(row))[:, None, None], rows[:, :, None], columns[:, None, :]]
    there = np.square(patches).sum((-3, -2, -1))
    share: Array = np.clip(1 - (there - 2 * overlap + drawn) / np.maximum(there, drawn), 0, 1)
    return share


def _peak(line: Array, index: Array) -> Array:
    """Where between pixels the parabola through `line` [T,P] around its maximum at `index` [T] peaks, [T]."""
    rows = np.arange(len(line))
    left, right = line[rows, np.maximum(index - 1, 0)], line[rows, np.minimum(index + 1, line.shape[1] - 1)]
    inside = (index > 0) & (index < line.shape[1] - 1) & np.isfinite(left) & np.isfinite(right)
    left, right = np.where(inside, left, 0), np.where(inside, right, 0)
    bend = 2 * line[rows, index] - left - right
    return np.where(inside & (bend > 0), 0.5 * (right - left) / np.where(bend > 0, bend, 1), 0.0)
