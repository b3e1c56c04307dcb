"""The study `landing` of TransitionBench: a switch that is asked for inside a section."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ....benchmarks.landing import study, table
from ....benchmarks.transition import pictures
from ....benchmarks.transition.running.results import COMPRESSED
from .measuring import Measure

STUDY = "landing"


def landing_study(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Every case with its switch asked for inside a section, landing at the border, on its frame, or composed along the section."""
    bench = study.LandingBench(folder=out, seeds=seeds)
    rows = table.rows(measure.kept(out, partial(study.run, bench)))
    table.save_plot(out / pictures.PLOT, rows)
    return {
        "settings": {"asked_latent_frames": study.ASKED, **bench.settings.describe()},
        "techniques": {arm.name: arm.arm.describe() for arm in study.ARMS},
        "rows": rows,
        "results": COMPRESSED,
        "text": table.table(rows),
    }
