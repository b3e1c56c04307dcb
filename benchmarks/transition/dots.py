"""Shares of several arms as dots with their intervals, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def draw_shares(
    axes: Any, rows: Sequence[Mapping[str, Any]], measures: Mapping[str, str], arms: Sequence[str]
) -> None:
    """Draw on matplotlib's axes, a line of dots for each of `arms` from above.

    `rows` have their `arm` and, for the name of each measure, a share and its interval `<name>_ci`; `measures` say what each is
    called.
    """
    places = np.array([arms.index(row["arm"]) for row in rows], dtype=float)
    for offset, (measure, label) in zip(np.linspace(-0.2, 0.2, len(measures)), measures.items()):
        shares = np.array([row[measure] for row in rows])
        ends = np.array([row[f"{measure}_ci"] for row in rows]).reshape(-1, 2).T
        axes.errorbar(shares, places + offset, xerr=np.abs(ends - shares), fmt="o", capsize=3, label=label)
    axes.set(xlim=(-0.03, 1.03), ylim=(max(len(arms), 1) - 0.5, -0.5))
    axes.set_yticks(range(len(arms)), arms)
