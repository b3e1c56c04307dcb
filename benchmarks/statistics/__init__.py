"""The statistics of all benchmarks: how far a figure may be from the truth, and how well scores rank.

Every interval is of 95 %. A share has Clopper and Pearson's, a difference of shares over pairs has Tango's, any other mean a
bootstrap-t that is never narrower than Student's t; each of them has a form for values that come in groups.
Kappa has the wider one of a test's and of a bootstrap of groups.
"""

from .groups import grouped_gain_interval, grouped_mean, grouped_share_interval
from .intervals import LEVEL, Interval, ends_of
from .kappa import counted, kappa, kappa_interval
from .means import grouped_mean_interval, mean_interval
from .pairs import gain_interval, paired_interval
from .ranking import auc, rank_correlation, ranks
from .shares import share_interval

__all__ = [
    "LEVEL",
    "Interval",
    "auc",
    "counted",
    "ends_of",
    "gain_interval",
    "grouped_gain_interval",
    "grouped_mean",
    "grouped_mean_interval",
    "grouped_share_interval",
    "kappa",
    "kappa_interval",
    "mean_interval",
    "paired_interval",
    "rank_correlation",
    "ranks",
    "share_interval",
]
