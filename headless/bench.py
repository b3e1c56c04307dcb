"""The command `bench`: runs a benchmark with the embedded model and writes what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..benchmarks import pictures, summary, transition
from ..benchmarks.studio import Studio
from ..models.tiny.bundle import load_tiny
from .errors import WorkflowError
from .progress import Bars
from .report import Record

BENCHES = ("transition",)
ENOUGH = 32  # seeds a case, for numbers that may be quoted


def run_transition(out: Path, seeds: int, record: Record, bars: Bars) -> dict[str, Any]:
    """Runs TransitionBench, or what is left of it; raises WorkflowError for a wrong number of seeds."""
    try:
        bench = transition.Bench(out, seeds)
    except ValueError as error:
        raise WorkflowError(f"{str(error)[0].upper()}{str(error)[1:]}") from error
    bundle = load_tiny()
    studio = Studio(bundle, bench.settings)
    record.kept.append(out / transition.EPISODES)
    results = transition.run(
        bench,
        studio,
        transition.cores(),
        lambda done, total, case: bars.update("bench", "TransitionBench", done, total, {"case": case}),
    )
    bars.close("bench")
    section = bench.settings.section_frames
    rows = summary.rows(results, section)
    remarks = _remarks(seeds, bundle.trained)
    text = pictures.table(rows)
    (out / pictures.TABLE).write_text("\n".join([*remarks, "", text]), encoding="utf-8")
    pictures.save_plot(out / pictures.PLOT, rows, results, section, f"TransitionBench, {seeds} seeds a case")
    pictures.save_sheet(out / pictures.SHEET, results, out, bench.settings)
    print(text)
    return {
        "bench": "transition",
        "seeds": seeds,
        "quotable": seeds >= ENOUGH and bundle.trained,
        "remarks": remarks,
        "settings": {"section_frames": section, **vars(bench.settings)},
        "techniques": {arm.name: arm.describe() for arm in bench.arms},
        "rows": rows,
        "table": pictures.TABLE,
        "plot": pictures.PLOT,
        "contact_sheet": pictures.SHEET,
    }


def _remarks(seeds: int, trained: bool) -> list[str]:
    """What must be known to read the numbers."""
    remarks = [
        f"TransitionBench, {seeds} seeds a case; only episodes that were right before the switch are counted."
    ]
    if not trained:
        remarks.append(
            "The embedded model's weights are random: these numbers only show that everything runs."
        )
    if seeds < ENOUGH:
        remarks.append(f"A quick look: fewer than {ENOUGH} seeds a case are not enough to quote.")
    remarks.append("Sizes of effects in this miniature do not carry over to the 13B model.")
    return remarks
