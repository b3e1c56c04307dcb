"""The study `later` of TransitionBench: layout original with techniques that act in the sections of the later prompt too."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ....benchmarks.later import study, table
from ....benchmarks.transition import pictures
from ....benchmarks.transition.running.results import COMPRESSED
from .measuring import Measure

STUDY = "later"


def later_study(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Whole videos that are made from their end, under techniques that act from the first section on."""
    bench = study.LaterBench(folder=out, seeds=seeds)
    rows = table.rows(measure.kept(out, partial(study.run, bench)))
    table.save_plot(out / pictures.PLOT, rows)
    return {
        "settings": bench.settings.describe(),
        "techniques": {arm.name: arm.describe() for arm in study.ARMS},
        "rows": rows,
        "results": COMPRESSED,
        "text": table.table(rows),
    }
