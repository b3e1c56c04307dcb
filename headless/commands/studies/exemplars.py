"""The study `exemplars` of TransitionBench: clips that are found by the new prompt, in place of the old memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....benchmarks.exemplars import study
from ....benchmarks.transition import pictures, summary
from .measuring import Measure, facts_of, sheet_of

STUDY = "exemplars"


def exemplar_study(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Plain, the preset balanced, and exemplars as history, as anchor and as both, alone and beside the preset."""
    bench = measure.prepared(study.bench(out, seeds))
    results, section = measure(bench), bench.settings.section_frames
    rows, every = study.rows(results), summary.rows(results, section)
    title = f"TransitionBench, exemplars, {len(seeds)} seeds a case"
    pictures.save_plot(out / pictures.PLOT, every, results=results, section=section, title=title)
    return {
        **facts_of(bench, out),
        **sheet_of(out, bench, results),
        "rows": every,
        "exemplars": rows,
        "text": study.table(rows),
    }
