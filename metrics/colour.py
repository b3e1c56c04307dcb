"""Colours as CIELAB, in which distances are about as large as they look."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, floats

# Linear sRGB to CIE XYZ, each row divided by the white point D65 (IEC 61966-2-1).
TO_XYZ = np.array(
    [
        [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
    ]
)
LINEAR_UNTIL = 216 / 24389
SLOPE = 24389 / 27 / 116


def lab(colours: ArrayLike) -> Array:
    """CIELAB [...,3] (L* in 0..100, a*, b*) of sRGB colours [...,3] in 0..1, for the white point D65."""
    srgb = floats(colours)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T
    x, y, z = np.moveaxis(np.where(xyz > LINEAR_UNTIL, np.cbrt(xyz), SLOPE * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
