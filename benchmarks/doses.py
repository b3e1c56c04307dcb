"""Dose and response: every technique at rising strength, alone or on top of the others' defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..samplers.techniques.adaptive_cfg import AdaptiveCFG
from ..samplers.techniques.attention_scaling import AttentionScaling
from ..samplers.techniques.base import Technique
from ..samplers.techniques.kv_gate import SemanticKVGate
from . import pictures
from .arms import PLAIN, Arm
from .episodes import SWITCHES
from .studio import Settings
from .summary import POOLED
from .transition import Bench


@dataclass(frozen=True)
class Dose:
    """A technique and the values of the setting that says how much of it there is, from the weakest on."""

    name: str
    technique: Technique
    setting: str
    values: tuple[Any, ...]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """One arm for each value."""
        return tuple(
            Arm(f"{self.name} {value:g}", (replace(self.technique, **{self.setting: value}),))
            for value in self.values
        )


DOSES = (
    Dose("adaptive_cfg real base", AdaptiveCFG(), "base", (2.0, 3.5, 5.0, 8.0)),
    Dose(
        "adaptive_cfg founding beta",
        AdaptiveCFG(target="distilled", shape="low_early", base=10.0, t_end=0.0),
        "beta",
        (0.3, 0.7),
    ),
    Dose("kv_gate gamma", SemanticKVGate(), "gamma", (1.0, 2.0, 4.0)),
    Dose("kv_gate cap", SemanticKVGate(mode="cap"), "cap", (0.3, 0.1, 0.03)),
    Dose("attention_scaling", AttentionScaling(), "scale", (1.15, 1.35, 1.6)),
)


def bench(folder: Path, seeds: int) -> Bench:
    """Plain and every dose, on all switches and on shams; the section after the treated one is there for latencies."""
    arms = (PLAIN, *(arm for dose in DOSES for arm in dose.arms))
    return Bench(folder, seeds, Settings(after=2), arms, (*SWITCHES, "sham"))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every dose with what it brings and what it costs, as a Markdown table."""
    found = {(row["technique"], row["case"]): row for row in rows}
    lines = [_line("plain", "-", found, PLAIN.name)]
    for dose in DOSES:
        lines += [_line(dose.name, f"{v:g}", found, arm.name) for v, arm in zip(dose.values, dose.arms)]
    return pictures.markdown(lines)


def _line(
    name: str, value: str, found: Mapping[tuple[str, str], Mapping[str, Any]], arm: str
) -> dict[str, str]:
    row, sham = found[arm, POOLED], found[arm, "sham"]
    return {
        "technique": name,
        "dose": value,
        "n": str(row["n"]),
        "success": pictures.with_interval(row, "success"),
        "gain over plain": pictures.with_interval(row, "gain"),
        "TL90 frames": pictures.number(row["tl_frames"]),
        "reached": pictures.percent(row["reached"]),
        "old content": pictures.percent(row["remaining"]),
        "jump px": pictures.number(row["continuity"]),
        "artefacts": pictures.percent(row["artefacts"]),
        "sham success": pictures.percent(sham["success"]),
        "sham jump px": pictures.number(sham["continuity"]),
        "calls": pictures.number(row["evaluations"]),
    }


MEASURES = (("success", "new scene"), ("remaining", "old content"), ("reached", "reached (TL90)"))


def save_plot(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Draw what every technique does over its dose, and what it costs where nothing should change."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = {(row["technique"], row["case"]): row for row in rows}
    columns = 4
    lines = -(-len(DOSES) // columns)
    figure = Figure(figsize=(4 * columns, 3.1 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
    for axis, dose in zip(axes, DOSES):
        _plot_dose(axis, dose, found)
    for axis in axes[len(DOSES) :]:
        axis.axis("off")
    axes[0].legend(fontsize=8)
    figure.suptitle("Dose and response, share of episodes (left-most: plain; bars: 95 % intervals)")
    figure.savefig(path, dpi=90)
    return path


def _plot_dose(axis: Any, dose: Dose, found: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    names = [PLAIN.name, *(arm.name for arm in dose.arms)]
    pooled = [found[name, POOLED] for name in names]
    for number, (measure, label) in enumerate(MEASURES):
        axis.plot([row[measure] for row in pooled], marker="o", label=label, color=f"C{number}")
    for place, row in enumerate(pooled):
        axis.plot([place, place], row["success_ci"], color="C0", linewidth=2)
    sham = [found[name, "sham"]["success"] for name in names]
    axis.plot(sham, marker="s", linestyle="--", color="C3", label="sham: still right")
    axis.set_xticks(range(len(names)), ["plain", *(f"{value:g}" for value in dose.values)])
    axis.set(title=dose.name, ylim=(-0.03, 1.03))
