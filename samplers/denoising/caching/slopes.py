"""How a reused residual goes on from the two latest computed ones: r = r_b + slope (r_b - r_a), b the later one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

# The slope of step i from the computed steps a and b, a < b < i.
Slope = Callable[[int, int, int], float]


def no_slope(a: int, b: int, i: int) -> float:
    """The latest residual as it is."""
    return 0.0


def steady_slope(a: int, b: int, i: int) -> float:
    """Half of the way that the residual would go at its latest pace: it turns as it goes, so that half is nearer than all."""
    return 0.5 * (i - b) / (b - a)


class RecordedSlopes:
    """Slopes as they were in a section whose steps were all computed; 0 for steps that had other computed ones before them.

    slopes: (a, b, i, slope) of every step that could have been reused.
    """

    def __init__(self, slopes: Iterable[Sequence[float]]) -> None:
        self._slopes = {(a, b, i): slope for a, b, i, slope in slopes}

    def __call__(self, a: int, b: int, i: int) -> float:
        return self._slopes.get((a, b, i), 0.0)


def nearest_slope(first: Tensor, second: Tensor, third: Tensor) -> float:
    """The slope that leads from the residuals r_a and r_b nearest to r_i.

    ARCache (CVPR 2026), which calls this error-rectified caching, takes |r_i - r_b| / |r_b - r_a| in the L1 norm: the same where
    residuals lie on a line, and too much where their path turns.
    """
    before, after = (second - first).float(), (third - second).float()
    return float((after * before).sum() / before.square().sum().clamp(min=1e-30))
