"""The study of sets: what could be a preset, against the bar that a new balanced preset would have to meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....samplers.techniques.attention.kv_gate import SemanticKVGate
from ....samplers.techniques.base import Technique
from ....samplers.techniques.context.low_pass import LowPassGuidance
from ....samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from ....samplers.techniques.guidance.contrastive import ContrastiveGuidance
from ....samplers.techniques.presets import PRESETS
from ..arms import PLAIN, Arm
from ..bench import Bench
from ..episodes import SWITCHES
from ..pictures import jump_over_plain, loss_not_excluded, markdown, percent, signed_share, with_interval
from ..running.sampling import BenchSettings
from ..summary import POOLED

Row = Mapping[str, Any]

CASES = (*SWITCHES, "sham")
# Of 12 steps: t_end of a window with the first one, the first two and the first three.
ONE, TWO, THREE = 0.95, 0.9, 0.8


def without_past(t_end: float, omega: float = 1.0) -> ContrastiveGuidance:
    """The direction of the text without the past, in the first steps."""
    return ContrastiveGuidance(omega=omega, past="none", t_end=t_end)


def real(t_end: float = THREE, **changes: Any) -> AdaptiveCFG:
    """Real guidance of 4 in the first steps."""
    return AdaptiveCFG(base=4.0, t_end=t_end, **changes)


def gate(gamma: float) -> SemanticKVGate:
    """A KV gate as it comes."""
    return SemanticKVGate(gamma=gamma)


SETS: dict[str, tuple[Technique, ...]] = {
    "preset clean": PRESETS["clean"],
    "preset balanced": PRESETS["balanced"],
    "without past, 2 steps": (without_past(TWO),),
    "without past, 2 steps; gate 0.5": (without_past(TWO), gate(0.5)),
    "without past, 2 steps; gate 1": (without_past(TWO), gate(1.0)),
    "without past, 2 steps; low-pass": (without_past(TWO), LowPassGuidance()),
    "without past, 1 step, omega 2; gate 0.5": (without_past(ONE, 2.0), gate(0.5)),
    "without past, 1 step; real 4, 2 steps; gate 0.5": (without_past(ONE), real(TWO), gate(0.5)),
    "real 4, 3 steps; gate 0.5": (real(), gate(0.5)),
    "real 4, 3 steps, rescale 0.7; gate 1": (real(rescale=0.7), gate(1.0)),
    "gate 1": (gate(1.0),),
}
ARMS = (PLAIN, *(Arm(name, techniques) for name, techniques in SETS.items()))


@dataclass(frozen=True)
class Bar:
    """A limit that a set has to keep to: what is asked, in words, and the value."""

    asked: str
    value: float
    at_least: bool = False

    def met(self, found: float | None) -> bool:
        """Whether a set's value keeps to it; one that is not known does not."""
        return found is not None and (found >= self.value if self.at_least else found <= self.value)


BARS = {
    "success": Bar("success of 0.90 and more", 0.9, at_least=True),
    "artefacts_gain": Bar("artefacts at most 0.08 over plain", 0.08),
    "jump_gain": Bar("a jump of at most 0.8 px over plain", 0.8),
    "calls": Bar("at most 1.3 times the calls", 1.3),
    "sham_loss": Bar("shams lost in at most 0.03", 0.03),
}


def bench(folder: Path, seeds: int, first_seed: int = 0) -> Bench:
    """All kinds of switch and shams, under every set, for the treated section alone."""
    return Bench(
        folder=folder,
        seeds=seeds,
        first_seed=first_seed,
        settings=BenchSettings(after=1),
        arms=ARMS,
        cases=CASES,
    )


def with_bars(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows over all switches, with what is asked of a set beside what it has: calls, sham_loss, missed."""
    by_key = {(row["technique"], row["case"]): row for row in rows}
    plain = by_key[PLAIN.name, POOLED]
    return [
        _with_bars(by_key[arm.name, POOLED], by_key[arm.name, "sham"], plain)
        for arm in ARMS
        if (arm.name, POOLED) in by_key
    ]


def _with_bars(row: Row, sham: Row, plain: Row) -> dict[str, Any]:
    has = {
        **row,
        "calls": row["evaluations"] / plain["evaluations"],
        "sham_loss": None if sham["gain"] is None else -sham["gain"],
        "sham": sham,
    }
    missed = [bar.asked for name, bar in BARS.items() if not bar.met(has[name])]
    return {**has, "missed": [] if row is plain else missed}


def table(rows: Sequence[Row]) -> str:
    """Every set with what it brings at each kind of switch, what it costs, and what it misses of the bar."""
    by_key = {(row["technique"], row["case"]): row for row in rows}
    return markdown(
        [
            {
                "set": row["technique"],
                "n": str(row["n"]),
                "success": with_interval(row, "success"),
                **{case: percent(by_key[row["technique"], case]["success"]) for case in SWITCHES},
                "artefacts over plain": with_interval(row, "artefacts_gain", signed_share),
                "jump over plain (n)": jump_over_plain(row),
                "calls": f"{row['calls']:.2f}x",
                f"sham success ({row['sham']['n']})": percent(row["sham"]["success"]),
                "sham loss not excluded": loss_not_excluded(row["sham"]),
                "sham jump over plain (n)": jump_over_plain(row["sham"]),
                "misses": "-" if row["technique"] == PLAIN.name else "; ".join(row["missed"]) or "nothing",
            }
            for row in with_bars(rows)
        ]
    )


def save_plot(path: Path, rows: Sequence[Row]) -> Path:
    """Draw what every set brings over what it costs in artefacts and in px, with the corner that is asked for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    shown = [row for row in with_bars(rows) if row["technique"] != PLAIN.name]
    costs = {"artefacts_gain": "artefacts over plain", "jump_gain": "jump over plain, px"}
    for axes, (cost, label) in zip(figure.subplots(1, 2, sharey=True), costs.items()):
        for place, row in enumerate(shown):
            colour, mark = f"C{place % 10}", "os"[place // 10]
            axes.plot(row[cost], row["success"], mark, color=colour, label=row["technique"])
            axes.plot([row[cost]] * 2, row["success_ci"], color=colour, linewidth=1)
        axes.axhline(BARS["success"].value, color="grey", linestyle="--")
        axes.axvline(BARS[cost].value, color="grey", linestyle="--")
        axes.set(xlabel=label, ylim=(0, 1.03))
    figure.axes[0].set_ylabel("success (lines: 95 % intervals)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=100)
    return path
