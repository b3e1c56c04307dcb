"""How far a share may be from the truth."""

from __future__ import annotations

from .distributions import beta_quantile
from .intervals import LEVEL, Interval


def share_interval(count: float, total: float, level: float = LEVEL) -> Interval:
    """The exact interval of a share: `count` of `total`, both may be fractions of wholes. Without any it is 0 to 1.

    It holds the true share in at least `level` of all cases, also where all or none of them succeed. Source: Clopper and
    Pearson 1934; with fractions, for which see `groups`, Korn and Graubard 1998. Raises ValueError for a count that is
    not in 0..total.
    """
    if not 0 <= count <= total:
        raise ValueError(f"a share of {count} of {total} is not in 0..1.")
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else beta_quantile(tail, count, total - count + 1)
    high = 1.0 if count == total else beta_quantile(1 - tail, count + 1, total - count)
    return low, high
