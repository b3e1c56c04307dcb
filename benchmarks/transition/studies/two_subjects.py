"""The study of two subjects: whether the one that is told to leave leaves, and the other one stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....samplers.context.tokens import DIFFERING
from ....samplers.techniques.attention.dual_memory import DualMemory
from ....samplers.techniques.attention.kv_gate import SemanticKVGate
from ....samplers.techniques.context.purge import ContextPurge
from ..arms import ARMS, Arm
from ..bench import Bench
from ..episodes import PAIR_CASES
from ..pictures import markdown, number, percent, with_interval
from ..running.sampling import BenchSettings

Row = Mapping[str, Any]
# What a bar shows, in words, and its colour.
BARS = (("gone", "it is gone", "tab:blue"), ("other", "the other one is untouched", "tab:green"))

EVERYWHERE = ContextPurge(
    start="remove", last="remove", history_2x="remove", history_4x="remove", image="remove"
)
SECOND = 0.95  # a t below that of the first of 12 steps, above that of the second
# What was found of the one that leaves is hidden: by words, beside ARMS, and by what the two prompts differ in.
PAIR_ARMS = (
    *ARMS,
    Arm("dual memory of what differs", (DualMemory(tokens=DIFFERING),)),
    Arm("dual memory of what differs, second step", (DualMemory(tokens=DIFFERING, t_start=SECOND),)),
    Arm("KV gate of 2 on the concept", (SemanticKVGate(gamma=2.0, tokens="concept"),)),
    Arm("KV gate of 2 on what differs", (SemanticKVGate(gamma=2.0, tokens=DIFFERING),)),
    Arm("purge of the concept", (replace(EVERYWHERE, select="concept"),)),
    Arm("purge of what differs", (replace(EVERYWHERE, select=DIFFERING),)),
    Arm("purge of what differs, second step", (replace(EVERYWHERE, select=DIFFERING, t_start=SECOND),)),
)


def bench(folder: Path, seeds: int, first_seed: int = 0) -> Bench:
    """One section after the switch, under all arms and those that hide what was found of the one that leaves."""
    return Bench(
        folder=folder,
        seeds=seeds,
        first_seed=first_seed,
        settings=BenchSettings(after=1),
        arms=PAIR_ARMS,
        cases=PAIR_CASES,
    )


def table(rows: Sequence[Row]) -> str:
    """One line an arm: what became of both subjects, what it cost, and the scene that should stay at a sham."""
    by_key = {(row["technique"], row["case"]): row for row in rows}
    arms = dict.fromkeys(row["technique"] for row in rows)
    return markdown([_cells(arm, *(by_key[arm, case] for case in PAIR_CASES)) for arm in arms])


def _cells(arm: str, leave: Row, sham: Row) -> dict[str, str]:
    return {
        "technique": arm,
        "n": str(leave["n"]),
        "gone": with_interval(leave, "gone"),
        "other untouched": with_interval(leave, "other"),
        "both": with_interval(leave, "success"),
        "remaining": percent(leave["remaining"]),
        "TL frames": number(leave["tl_frames"]),
        "jump px": number(leave["continuity"]),
        "artefacts": percent(leave["artefacts"]),
        "evaluations": number(leave["evaluations"]),
        f"sham kept ({sham['n']})": with_interval(sham, "success"),
        "sham jump px": number(sham["continuity"]),
    }


def save_plot(path: Path, rows: Sequence[Row]) -> Path:
    """Draw for each arm in how many episodes the one subject is gone, and in how many the other one is untouched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [row for row in reversed(rows) if row["case"] == PAIR_CASES[0] and row["n"]]
    figure = Figure(figsize=(9, 1.5 + 0.35 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for offset, (name, label, colour) in zip((0.2, -0.2), BARS):
        places = [place + offset for place in range(len(shown))]
        axes.barh(places, [row[name] for row in shown], height=0.38, color=colour, label=label)
        for place, row in zip(places, shown):
            axes.plot(row[f"{name}_ci"], [place, place], color="black", linewidth=2)
    axes.set_yticks(range(len(shown)), [row["technique"] for row in shown])
    axes.set(title="one of two subjects is told to leave (black: 95 % interval)", xlim=(0, 1))
    axes.margins(y=0.01)
    figure.legend(loc="outside lower center", ncols=len(BARS))
    figure.savefig(path, dpi=100)
    return path
