"""The distributions that intervals come from: beta, Student's t and the normal one."""

from __future__ import annotations

from functools import cache
from itertools import count
from math import exp, lgamma, log, log1p
from statistics import NormalDist

from .intervals import solve

PRECISION = 1e-14
SMALLEST = 1e-300  # stands for 0 where it would be divided by
FARTHEST = 1e6  # beyond any quantile of Student's t that is asked for


def normal_quantile(share: float) -> float:
    """Where the standard normal distribution has `share` of its mass below."""
    return NormalDist().inv_cdf(share)


@cache
def student_quantile(share: float, freedom: float) -> float:
    """Where Student's t distribution with `freedom` degrees of freedom has `share` of its mass below; share >= 0.5."""
    return solve(lambda t: _student_cdf(t, freedom), share, 0.0, FARTHEST)


def beta_quantile(share: float, a: float, b: float) -> float:
    """Where the beta distribution with parameters a and b, both above 0, has `share` of its mass below."""
    return solve(lambda x: beta_cdf(x, a, b), share, 0.0, 1.0)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The share of the beta distribution below x in 0..1: the regularised incomplete beta function.

    Source: the continued fraction of Abramowitz and Stegun 26.5.8, from the side on which it converges fast.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    return front / _fraction(x, a, b)


def _student_cdf(t: float, freedom: float) -> float:
    """The share of Student's t distribution below t >= 0."""
    return 1 - beta_cdf(freedom / (freedom + t * t), freedom / 2, 0.5) / 2


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)), by Lentz's method."""
    value, above, below = 1.0, 1.0, 0.0
    for number in count(1):
        term = _term(number, x, a, b)
        below = 1 / (1 + term * below or SMALLEST)
        above = 1 + term / above or SMALLEST
        value *= above * below
        if abs(above * below - 1) < PRECISION:
            return value
    raise AssertionError("a count has no end")


def _term(number: int, x: float, a: float, b: float) -> float:
    half, odd = divmod(number, 2)
    at = a + 2 * half
    if odd:
        return -(a + half) * (a + b + half) * x / (at * (at + 1))
    return half * (b - half) * x / ((at - 1) * at)
