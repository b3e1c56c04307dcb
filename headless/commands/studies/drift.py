"""The study `drift` of TransitionBench: whether colours drift over a long video, and what the colour anchor does about it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ....benchmarks.drift import study, table
from ....benchmarks.transition import pictures
from ....benchmarks.transition.running.results import COMPRESSED
from .measuring import Measure

STUDY = "drift"


def drift_study(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Videos of one scene, plain and with the colour anchor, without a drift and with a planted one."""
    bench = study.DriftBench(folder=out, seeds=seeds)
    rows = table.rows(measure.kept(out, partial(study.run, bench)))
    table.save_plot(out / pictures.PLOT, rows)
    return {
        "settings": {"sections": bench.sections, **bench.settings.describe()},
        "rows": rows,
        "results": COMPRESSED,
        "text": table.table(rows),
    }
