"""The study `exemplars` of TransitionBench: clips that are found by the new prompt, in place of the old memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....benchmarks.exemplars import study
from .measuring import Measure, report_of

STUDY = "exemplars"


def exemplar_study(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Plain, the preset balanced, and exemplars as history, as anchor and as both, alone and beside the preset."""
    bench = measure.prepared(study.bench(out, seeds))
    results = measure(bench)
    rows = study.rows(results)
    return {
        **report_of(out, bench, results, f"TransitionBench, exemplars, {len(seeds)} seeds a case"),
        "exemplars": rows,
        "text": study.table(rows),
    }
