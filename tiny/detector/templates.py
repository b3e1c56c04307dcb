"""The subjects that a detector tries: their pictures at every place, and how well they fit a difference to an empty scene."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..world import COLOURS, INK, SHAPES, SIZE, SIZES, masks
from .scenes import SCENES, empty_scenes

TEMPLATES = tuple((shape, size) for shape in SHAPES for size in SIZES)
FIRST, LAST = min(SIZES.values()) // 2, SIZE - min(SIZES.values()) // 2  # of the centres that can be
SOFTNESS = 0.8  # px, sigma of the blur of templates: what a decoder draws is less sharp than the world

Array = NDArray[Any]


@cache
def outline_colours() -> tuple[Array, Array]:
    """Of each scene: outline's colour less background [10,64,64,3], fills' less outline's [10,6,3]."""
    ink = np.array([INK[night] for _, night in SCENES], np.float32)
    fills = np.array(list(COLOURS.values()), np.float32)
    return ink[:, None, None] - empty_scenes(), fills[None] - ink[:, None]


@cache
def kernels() -> tuple[Array, Array]:
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


def _correlate(images: Array, templates: Array) -> Array:
    """Sum of image times kernel for each place of its centre: [...,64,64] with [8,64,64] -> [...,8,P,P]."""
    spectrum = np.fft.rfft2(images)[..., None, :, :] * np.conj(np.fft.rfft2(templates))
    sums: Array = np.fft.irfft2(spectrum, (SIZE, SIZE))[..., FIRST : LAST + 1, FIRST : LAST + 1]
    return sums.astype(np.float32)


def overlap_of(difference: Array, scene: Array) -> Array:
    """Product of the difference [T,64,64,3] with that of every subject at every place, [T,8,6,P,P]."""
    outline, fills = (part[scene] for part in outline_colours())
    fill, silhouette = kernels()
    by_channel = _correlate(np.moveaxis(difference, -1, 1), fill)
    around = _correlate((difference * outline).sum(-1), silhouette)
    inside: Array = np.einsum("tkc,tcnyx->tnkyx", fills, by_channel, optimize=True)
    return inside + around[:, :, None]


@cache
def drawn_energy() -> Array:
    """Square of the difference that every subject makes at every place of every scene, [10,8,6,P,P]."""
    outline, fills = outline_colours()
    fill, silhouette = kernels()
    around = _correlate(np.square(outline).sum(-1), silhouette**2)[:, :, None]
    mixed = _correlate(np.moveaxis(outline, -1, 1), silhouette * fill)
    mixed = np.einsum("skc,scnyx->snkyx", fills, mixed, optimize=True)
    inside = np.einsum("sk,n->snk", np.square(fills).sum(-1), np.square(fill).sum((-2, -1)))
    energy: Array = around + 2 * mixed + inside[..., None, None]
    return energy


def seen_energy(scene: Array, seen: Array) -> Array:
    """As `drawn_energy` for each frame's scene [T], counting only the pixels that are `seen`, 0 or 1 [T,64,64]."""
    outline, fills = (part[scene] for part in outline_colours())
    fill, silhouette = kernels()
    around = _correlate(seen * np.square(outline).sum(-1), silhouette**2)[:, :, None]
    mixed = _correlate(np.moveaxis(seen[..., None] * outline, -1, 1), silhouette * fill)
    mixed = np.einsum("tkc,tcnyx->tnkyx", fills, mixed, optimize=True)
    inside = np.einsum("tk,tnyx->tnkyx", np.square(fills).sum(-1), _correlate(seen, fill**2))
    energy: Array = around + 2 * mixed + inside
    return energy


@cache
def outside() -> Array:
    """Minus infinity where a template would leave the picture, else 0: [8,1,P,P]."""
    centres = np.arange(FIRST, LAST + 1)
    half = np.array([SIZES[size] / 2 for _, size in TEMPLATES])[:, None]
    fits = (centres >= half) & (centres <= SIZE - half)
    outside: Array = np.where(fits[:, :, None] & fits[:, None, :], np.float32(0), np.float32(-np.inf))
    return outside[:, None]
