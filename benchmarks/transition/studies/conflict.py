"""The conflict factorial: what the past shows against what the prompt asks, under a cap on the past's attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ....samplers.techniques.attention.kv_gate import SemanticKVGate
from ... import statistics
from ..arms import ANCHORS, PROMPTS, Arm, SwitchConditions
from ..bench import Bench
from ..pictures import markdown, percent, with_interval
from ..running.results import Result
from ..running.sampling import BenchSettings

CAPS = (1.0, 0.3, 0.1, 0.03, 0.0)
LENGTHS = (1, 4)  # sections of history
AFTER = 4  # one treated, three released
CASES = ("disappear", "colour", "background", "cut")


@dataclass(frozen=True)
class Cell:
    """One combination of the factorial; without a history there is nothing of length, and the cap acts on the anchor.

    The cap holds for start frame, history and image tokens together, and for what window, text and image tokens read:
    none of them can relay the past, so that cap 0 leaves no memory.
    """

    conditions: SwitchConditions
    cap: float
    length: int

    @property
    def arm(self) -> Arm:
        """The cell as an arm of the bench: the first section after the switch is capped in all of its steps."""
        gate = SemanticKVGate(mode="cap", cap=self.cap, image=1.0, gate_text_rows=True, t_end=0.0)
        p = self.conditions
        name = f"history {p.history}, asks {p.prompt}, anchor {p.anchor}, cap {self.cap:g}"
        return Arm(name, (gate,) if self.cap < 1 else (), p)


def cells() -> list[Cell]:
    """The whole factorial, lengths apart."""
    made = []
    for history, prompt, anchor in product(("old", "new", "zero"), PROMPTS, ANCHORS):
        conditions = SwitchConditions(history, prompt, anchor)
        made += [
            Cell(conditions, cap, length)
            for length in (LENGTHS if history != "zero" else LENGTHS[:1])
            for cap in CAPS
        ]
    return made


def benches(
    folder: Path, seeds: int, settings: BenchSettings | None = None, *, first_seed: int = 0
) -> dict[int, Bench]:
    """One bench for each length of history."""
    settings = replace(settings or BenchSettings(), after=AFTER)
    return {
        length: Bench(
            folder=folder / f"history_{length}",
            seeds=seeds,
            first_seed=first_seed,
            settings=replace(settings, before=length),
            arms=tuple(cell.arm for cell in cells() if cell.length == length),
            cases=CASES,
        )
        for length in LENGTHS
    }


def rows(results: dict[int, Sequence[Result]]) -> list[dict[str, Any]]:
    """A row for every cell, over all cases: only episodes whose history was right count."""
    made = []
    for cell in cells():
        valid = [r for r in results[cell.length] if r.arm == cell.arm.name and r.valid]
        won = [r for r in valid if r.measures.success]
        made.append(
            {
                "history": cell.conditions.history,
                "prompt": cell.conditions.prompt,
                "anchor": cell.conditions.anchor,
                "cap": cell.cap,
                "length": cell.length,
                "n": len(valid),
                "success": fmean(r.measures.success for r in valid) if valid else None,
                "success_ci": list(statistics.share_interval(len(won), len(valid))) if valid else None,
                "lasting": fmean(r.measures.held[-1] for r in valid) if valid else None,
                "relapse": fmean(not r.measures.held[-1] for r in won) if won else None,
            }
        )
    return made


def conclusions(made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each length and anchor: the cap at half success, memory's share, relapse, and what the cap costs a sham."""
    return [_conclusion(made, length, anchor) for length, anchor in product(LENGTHS, ANCHORS)]


def _conclusion(made: Sequence[dict[str, Any]], length: int, anchor: str) -> dict[str, Any]:
    old = curve(made, history="old", prompt="new", anchor=anchor, length=length)
    sham = curve(made, history="old", prompt="old", anchor=anchor, length=length)
    zero = curve(made, history="zero", prompt="new", anchor=anchor, length=LENGTHS[0])
    free = zero[0]["success"], old[0]["success"]
    best = max(
        (row for row in old if row["success"] is not None), key=lambda row: row["success"], default=None
    )
    return {
        "length": length,
        "anchor": anchor,
        "cap_at_half": cap_at_half([row["success"] for row in old]),
        "memory_share": None if None in free else free[0] - free[1],
        "best_cap": best and best["cap"],
        "best_success": best and best["success"],
        "relapse": best and best["relapse"],
        "sham_cost": best and sham_cost(sham, best["cap"]),
    }


def curve(
    made: Sequence[dict[str, Any]], *, history: str, prompt: str, anchor: str, length: int
) -> list[dict[str, Any]]:
    """The rows over the caps, from 1 down to 0."""
    wanted = (history, prompt, anchor, length)
    found = [r for r in made if (r["history"], r["prompt"], r["anchor"], r["length"]) == wanted]
    return sorted(found, key=lambda row: -row["cap"])


def sham_cost(sham: Sequence[dict[str, Any]], cap: float) -> float | None:
    """Success that the cap costs where the old scene is asked for again."""
    by_cap = {row["cap"]: row["success"] for row in sham}
    return None if None in (by_cap[1.0], by_cap[cap]) else by_cap[1.0] - by_cap[cap]


def cap_at_half(successes: Sequence[float | None]) -> float | None:
    """The largest cap at which half of the switches succeed, between caps on a logarithmic scale (0 stands at 0.01).

    Caps without a success (None) are passed over. None where half is never reached; 1 where it is without a cap.
    """
    places = np.log10([max(cap, 0.01) for cap in CAPS])
    known = [(place, value) for place, value in zip(places, successes) if value is not None]
    if known and known[0][1] >= 0.5:
        return float(10 ** known[0][0])
    for (left, low), (right, high) in pairwise(known):
        if low < 0.5 <= high:
            return float(10 ** (left + (0.5 - low) / (high - low) * (right - left)))
    return None


def table(made: Sequence[dict[str, Any]]) -> str:
    """What follows from the factorial, then its cells, as two Markdown tables."""
    summary = [
        {
            "history, sections": str(row["length"]),
            "anchor": row["anchor"],
            "cap at half success": "not reached"
            if row["cap_at_half"] is None
            else f"{row['cap_at_half']:.2f}",
            "memory's share": percent(row["memory_share"]),
            "best cap": "-" if row["best_cap"] is None else f"{row['best_cap']:g}",
            "success there": percent(row["best_success"]),
            "relapse there": percent(row["relapse"]),
            "sham cost there": percent(row["sham_cost"]),
        }
        for row in conclusions(made)
    ]
    lines = []
    for history, prompt, anchor in product(("old", "new", "zero"), PROMPTS, ANCHORS):
        for length in LENGTHS if history != "zero" else LENGTHS[:1]:
            found = curve(made, history=history, prompt=prompt, anchor=anchor, length=length)
            lines.append(
                {
                    "history": history,
                    "sections": "-" if history == "zero" else str(length),
                    "asks": prompt,
                    "anchor": anchor,
                    "n": str(found[0]["n"]),
                    **{f"cap {row['cap']:g}": with_interval(row, "success") for row in found},
                    "lasting, cap 1 to 0": " ".join(percent(row["lasting"]) for row in found),
                }
            )
    return markdown(summary) + "\n" + markdown(lines)


def save_plot(path: Path, made: Sequence[dict[str, Any]]) -> Path:
    """Draw success and what lasts of it over the cap, for every history, prompt and anchor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for (row, anchor), (column, prompt) in product(enumerate(ANCHORS), enumerate(PROMPTS)):
        _plot_cells(axes[row][column], made, prompt, anchor)
        axes[row][column].set(title=f"asks for the {prompt} scene, anchor {anchor}", ylim=(-0.03, 1.03))
    figure.supylabel("success in the capped section (faint: three sections later)")
    for axis in axes[-1]:
        axis.set_xticks(range(len(CAPS)), [f"{cap:g}" for cap in CAPS])
        axis.set_xlabel("cap on the past's attention")
    if any(row["n"] for row in made):
        axes[0][0].legend(fontsize=9)
    figure.suptitle("What the past shows against what the prompt asks")
    figure.savefig(path, dpi=90)
    return path


def _plot_cells(axis: Any, made: Sequence[dict[str, Any]], prompt: str, anchor: str) -> None:
    kinds = [("old", 1), ("old", 4), ("new", 1), ("new", 4), ("zero", 1)]
    for number, (history, length) in enumerate(kinds):
        found = [
            row
            for row in curve(made, history=history, prompt=prompt, anchor=anchor, length=length)
            if row["success"] is not None
        ]
        if not found:
            continue
        places = [CAPS.index(row["cap"]) + 0.03 * (number - 2) for row in found]
        label = "no history" if history == "zero" else f"{history} scene, {length} sections"
        success = np.array([row["success"] for row in found])
        low, high = np.array([row["success_ci"] for row in found]).T
        spread = np.maximum([success - low, high - success], 0)
        axis.errorbar(places, success, spread, label=label, color=f"C{number}", marker="o", capsize=2)
        axis.plot(places, [row["lasting"] for row in found], color=f"C{number}", alpha=0.3, linestyle="--")
