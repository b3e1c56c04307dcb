"""The study `shots` of TransitionBench: what a new shot keeps of the one before it, or calls back of an earlier one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ....benchmarks.shots import choosing, episodes, sampling, study, table
from ....benchmarks.transition import pictures
from ....benchmarks.transition.running.results import COMPRESSED
from ....tiny.bundle import load_tiny
from .measuring import Measure

STUDY = "shots"


def shot_study(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """A subject that is kept over a cut, a scene that is called back, and which scene a prompt calls back."""
    bench = study.ShotBench(folder=out, seeds=seeds)
    rows = table.rows(measure.kept(out, partial(study.run, bench)))
    table.save_plot(out / pictures.PLOT, rows)
    choices = choosing.rows(load_tiny(), seeds)
    return {
        "settings": {**bench.settings.describe(), "sections_by_prompt": episodes.LENGTHS},
        "techniques": {sampling.BETWEEN.name: sampling.BETWEEN.describe()},
        "rows": rows,
        "choices": choices,
        "results": COMPRESSED,
        "text": f"{choosing.table(choices)}\n{table.table(rows)}",
    }
