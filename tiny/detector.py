"""An analytic detector for the embedded model's world: what is seen in each frame, and where.

A frame is compared with the empty scene that it resembles most. The difference is explained by a subject
drawn over it: least squares over all shapes, sizes, colours and whole-pixel positions at once, by Fourier
transform.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .world import BACKGROUNDS, COLOURS, INK, SHAPES, SIZE, SIZES, Scene, background_pixels, masks

PRESENT_SCORE = 0.4
SCENES = tuple((background, night) for background in BACKGROUNDS for night in (False, True))
TEMPLATES = tuple((shape, size) for shape in SHAPES for size in SIZES)
FIRST, LAST = min(SIZES.values()) // 2, SIZE - min(SIZES.values()) // 2  # of the centres that can be
POOL = 4  # backgrounds are told apart at 16x16
OUTLIER = 0.35  # cap of a pooled difference: a subject hides the background, at a limited cost
FAINTEST = 0.6  # a subject may be this transparent before it is preferred to be another one
SOFTNESS = 0.8  # px, sigma of the blur of templates: what a decoder draws is less sharp than the world
CHUNK = 16  # frames worked on at once

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Detection:
    """What is seen in each of T frames; every field is an array [T].

    `score` is the share of the difference to the empty scene that the best subject explains: near 1 for a
    well drawn one, about 0 for none; `present` is score > 0.4. The subject's other fields (`x` and `y` in px,
    its centre) mean nothing where it is not present.
    """

    present: Array
    score: Array
    shape: Array
    colour: Array
    size: Array
    x: Array
    y: Array
    background: Array
    night: Array

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, frames: slice) -> Detection:
        """The detection of some of the frames."""
        return Detection(**{field.name: getattr(self, field.name)[frames] for field in fields(self)})


def detect(frames: Any) -> Detection:
    """Detect what frames [T,64,64,3], uint8 or float in 0..1, show; raises ValueError for other shapes."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[1:] != (SIZE, SIZE, 3) or not len(frames):
        raise ValueError(
            f"The detector needs frames [T,{SIZE},{SIZE},3] with T > 0, but got "
            f"{list(frames.shape)}: resize the video first."
        )
    chunks = []
    for first in range(0, len(frames), CHUNK):
        chunk = frames[first : first + CHUNK]
        scale = 255 if frames.dtype == np.uint8 else 1
        chunks.append(_detect(chunk.astype(np.float32) / np.float32(scale)))
    names = [field.name for field in fields(Detection)]
    return Detection(**{name: np.concatenate(arrays) for name, arrays in zip(names, zip(*chunks))})


def agrees(detection: Detection, scene: Scene) -> Array:
    """Whether background, night, and the subject's shape and colour or absence are a scene's, bool [T]."""
    same: Array = (detection.background == scene.background) & (detection.night == scene.night)
    if scene.subject is None:
        return np.logical_and(same, np.logical_not(detection.present))
    subject = scene.subject
    same &= (detection.shape == subject.shape) & (detection.colour == subject.colour)
    return np.logical_and(same, detection.present)


def matches(detection: Detection, scene: Scene) -> bool:
    """Whether a scene is what is seen in more than half of the frames."""
    return bool(agrees(detection, scene).mean() > 0.5)


def jump(detection: Detection, frame: int, past: int = 3) -> float:
    """How far, in px, the subject lies at `frame` from where it was going; nan when it is not seen there.

    Where it was going is its last place moved on by its mean move over up to `past` frames before.
    """
    if not 0 < frame < len(detection):
        raise ValueError(f"A jump needs a frame before it, but {frame} is not in 1..{len(detection) - 1}.")
    before = np.arange(max(frame - 1 - past, 0), frame)
    before = before[np.logical_and.accumulate(detection.present[before][::-1])[::-1]]
    if not len(before) or not detection.present[frame]:
        return float("nan")
    places = np.stack([detection.x, detection.y], axis=-1)
    velocity = np.diff(places[before], axis=0).mean(0) if len(before) > 1 else np.zeros(2)
    return float(np.linalg.norm(places[frame] - places[frame - 1] - velocity))


def _detect(frames: Array) -> tuple[Array, ...]:
    """The fields of a Detection, of frames float32 [T,64,64,3]."""
    rows = np.arange(len(frames))
    scene = _nearest_scene(frames)
    empty = _empty_scenes()[scene]
    difference = frames - empty
    # A tint of the whole picture is no subject.
    difference -= np.median(_pool(difference).reshape(len(frames), -1, 3), axis=1)[:, None, None]
    overlap, drawn = _overlap(difference, scene), _drawn_energy()[scene]
    strength = np.clip(overlap / drawn, FAINTEST, 1)
    gain = strength * (2 * overlap - strength * drawn) + _outside()
    best = np.unravel_index(gain.reshape(len(frames), -1).argmax(1), gain.shape[1:])
    template, colour, row, column = best
    x = FIRST + column + _peak(gain[rows, template, colour, row], column)
    y = FIRST + row + _peak(gain[rows, template, colour, :, column], row)
    place = (rows, *best)
    score = _score(
        difference, overlap=overlap[place], drawn=drawn[place], row=row + FIRST, column=column + FIRST
    )
    shape, size = np.array(TEMPLATES)[template].T
    background, night = (np.array(names)[scene] for names in zip(*SCENES))
    return score > PRESENT_SCORE, score, shape, np.array(list(COLOURS))[colour], size, x, y, background, night


def _pool(frames: Array) -> Array:
    small = SIZE // POOL
    pooled: Array = frames.reshape(*frames.shape[:-3], small, POOL, small, POOL, 3).mean((-4, -2))
    return pooled


def _nearest_scene(frames: Array) -> Array:
    """Index into SCENES of the empty scene nearest to each frame, [T]."""
    difference = (_pool(frames)[:, None] - _pool(_empty_scenes())).reshape(len(frames), len(SCENES), -1, 3)
    untinted = difference - np.median(difference, axis=2, keepdims=True)
    absolute, relative = (
        np.minimum(np.abs(part).sum(-1), OUTLIER).mean(-1) for part in (difference, untinted)
    )
    nearest: Array = (absolute + relative).argmin(1)
    return nearest


@cache
def _empty_scenes() -> Array:
    """All empty scenes, [10,64,64,3]."""
    return np.stack([background_pixels(*scene) for scene in SCENES])


@cache
def _outline_colours() -> tuple[Array, Array]:
    """Of each scene: outline's colour less background [10,64,64,3], fills' less outline's [10,6,3]."""
    ink = np.array([INK[night] for _, night in SCENES], np.float32)
    fills = np.array(list(COLOURS.values()), np.float32)
    return ink[:, None, None] - _empty_scenes(), fills[None] - ink[:, None]


@cache
def _kernels() -> tuple[Array, Array]:
    """Fill and silhouette of all templates, [8,64,64], their centre at (0, 0) of the periodic picture."""
    kernels = np.zeros((2, len(TEMPLATES), SIZE, SIZE), np.float32)
    for index, (shape, size) in enumerate(TEMPLATES):
        for kernel, coverage in zip(kernels[:, index], masks(shape, SIZES[size])):
            patch = coverage.shape[-1]
            kernel[:patch, :patch] = coverage[0, 0]
            kernel[:] = np.roll(kernel, -(patch // 2), axis=(0, 1))
    tall, wide = (np.square(frequency) for frequency in (np.fft.fftfreq(SIZE), np.fft.rfftfreq(SIZE)))
    blur = np.exp(-2 * (np.pi * SOFTNESS) ** 2 * (tall[:, None] + wide))
    soft = np.fft.irfft2(np.fft.rfft2(kernels) * blur, (SIZE, SIZE)).astype(np.float32)
    return soft[0], soft[1]


def _correlate(images: Array, kernels: Array) -> Array:
    """Sum of image times kernel for each place of its centre: [...,64,64] with [8,64,64] -> [...,8,P,P]."""
    spectrum = np.fft.rfft2(images)[..., None, :, :] * np.conj(np.fft.rfft2(kernels))
    sums: Array = np.fft.irfft2(spectrum, (SIZE, SIZE))[..., FIRST : LAST + 1, FIRST : LAST + 1]
    return sums.astype(np.float32)


def _overlap(difference: Array, scene: Array) -> Array:
    """Product of the difference [T,64,64,3] with that of every subject at every place, [T,8,6,P,P]."""
    outline, fills = (part[scene] for part in _outline_colours())
    fill, silhouette = _kernels()
    by_channel = _correlate(np.moveaxis(difference, -1, 1), fill)
    around = _correlate((difference * outline).sum(-1), silhouette)
    inside: Array = np.einsum("tkc,tcnyx->tnkyx", fills, by_channel, optimize=True)
    return inside + around[:, :, None]


@cache
def _drawn_energy() -> Array:
    """Square of the difference that every subject makes at every place of every scene, [10,8,6,P,P]."""
    outline, fills = _outline_colours()
    fill, silhouette = _kernels()
    around = _correlate(np.square(outline).sum(-1), silhouette**2)[:, :, None]
    mixed = _correlate(np.moveaxis(outline, -1, 1), silhouette * fill)
    mixed = np.einsum("skc,scnyx->snkyx", fills, mixed, optimize=True)
    inside = np.einsum("sk,n->snk", np.square(fills).sum(-1), np.square(fill).sum((-2, -1)))
    energy: Array = around + 2 * mixed + inside[..., None, None]
    return energy


@cache
def _outside() -> Array:
    """Minus infinity where a template would leave the picture, else 0: [8,1,P,P]."""
    centres = np.arange(FIRST, LAST + 1)
    half = np.array([SIZES[size] / 2 for _, size in TEMPLATES])[:, None]
    fits = (centres >= half) & (centres <= SIZE - half)
    outside: Array = np.where(fits[:, :, None] & fits[:, None, :], np.float32(0), np.float32(-np.inf))
    return outside[:, None]


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
