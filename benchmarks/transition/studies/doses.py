"""Dose and response: every technique at rising strength, alone or on top of the others' defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....samplers.context.tokens import CHANGES, DIFFERING
from ....samplers.techniques.attention.attention_scaling import AttentionScaling
from ....samplers.techniques.attention.dual_memory import DualMemory
from ....samplers.techniques.attention.kv_gate import SemanticKVGate
from ....samplers.techniques.attention.rope_jitter import RopeJitter
from ....samplers.techniques.base import Technique
from ....samplers.techniques.context.blur import ContextBlur
from ....samplers.techniques.context.low_pass import LowPassGuidance
from ....samplers.techniques.context.purge import ContextPurge
from ....samplers.techniques.context.refresh import ContextRefresh
from ....samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from ....samplers.techniques.guidance.contrastive import ContrastiveGuidance
from ....samplers.techniques.schedule.step_cache import StepCache
from ....samplers.techniques.schedule.transition_sigmas import TransitionSigmas
from .. import pictures
from ..arms import PLAIN, Arm
from ..bench import Bench
from ..running.sampling import BenchSettings
from ..summary import POOLED


@dataclass(frozen=True)
class Dose:
    """A technique and what is varied of it: labels with the technique at rising strength."""

    name: str
    steps: tuple[tuple[str, tuple[Technique, ...]], ...]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """One arm for each step."""
        return tuple(Arm(f"{self.name} {label}", techniques) for label, techniques in self.steps)


def dose(name: str, technique: Technique, setting: str, values: Sequence[Any], *beside: Technique) -> Dose:
    """A technique over the values of one setting, wired after those `beside` it."""
    return Dose(
        name, tuple((f"{value:g}", (*beside, replace(technique, **{setting: value}))) for value in values)
    )


NOTHING_PURGED = ContextPurge(last="keep", history_2x="keep", history_4x="keep")
LOW_EARLY = AdaptiveCFG(target="distilled", shape="low_early", base=10.0, t_end=0.0)

DOSES = (
    dose("adaptive CFG, real base", AdaptiveCFG(), "base", (2.0, 3.0, 5.0, 8.0)),
    dose("adaptive CFG, founding beta", LOW_EARLY, "beta", (0.7,)),
    dose("KV gate, gamma", SemanticKVGate(), "gamma", (0.5, 1.0, 2.0, 4.0)),
    dose("KV gate, cap", SemanticKVGate(mode="cap"), "cap", (0.3, 0.1)),
    Dose(
        "KV gate, tokens, gamma 2",
        tuple((tokens, (SemanticKVGate(gamma=2.0, tokens=tokens),)) for tokens in (*CHANGES, DIFFERING)),
    ),
    dose("dual memory, content", DualMemory(event="gone"), "content", (0.6, 1.0)),
    dose("dual memory, scene", DualMemory(event="new_place"), "scene", (0.6, 1.0)),
    dose("CFG 4 and KV gate, gamma", SemanticKVGate(), "gamma", (0.5, 1.0, 2.0), AdaptiveCFG(base=4.0)),
    dose("attention scaling", AttentionScaling(), "scale", (1.35,)),
    dose("context blur, low-pass", ContextBlur(), "strength", (0.5, 1.0)),
    dose("context blur, high-pass", ContextBlur(mode="high_pass"), "strength", (1.0,)),
    dose("low-pass guidance, factor", LowPassGuidance(), "factor", (0.4, 0.25)),
    Dose(
        "context purge",
        (("history removed", (ContextPurge(),)), ("gap 8", (replace(NOTHING_PURGED, gap=8),))),
    ),
    dose("context refresh, sigma", ContextRefresh(), "strength", (0.75,)),
    dose("context refresh, new anchor", ContextRefresh(sees="none", anchor="replaced"), "strength", (0.9,)),
    dose("contrast, omega", ContrastiveGuidance(), "omega", (0.5, 1.0, 2.0)),
    dose("contrast 1 and KV gate, gamma", SemanticKVGate(), "gamma", (1.0,), ContrastiveGuidance(omega=1.0)),
    dose(
        "contrast without the past, omega",
        ContrastiveGuidance(past="none", t_end=0.75),
        "omega",
        (1.0, 2.0),
    ),
    dose(
        "contrast with the anchor alone, omega",
        ContrastiveGuidance(past="anchor", t_end=0.75),
        "omega",
        (1.0,),
    ),
    dose("contrast, history", ContrastiveGuidance(omega=0.0), "history", (0.3,)),
    dose("refusal of the old prompt", ContrastiveGuidance(omega=0.0), "refusal", (1.0, 2.0)),
    Dose(
        "transition sigmas",
        (
            ("shift 12", (TransitionSigmas(shift=12.0),)),
            ("founding", (TransitionSigmas(mode="founding", delta=0.85),)),
            ("boost 2", (TransitionSigmas(mode="boost", boost=2.0),)),
        ),
    ),
    dose("RoPE jitter, sigma", RopeJitter(), "sigma", (0.4,)),
    dose("step cache, dense sections", StepCache(), "dense", (1, 0)),
)
CASES = ("disappear", "colour", "background", "cut", "sham")


def bench(folder: Path, seeds: int, first_seed: int = 0) -> Bench:
    """Plain and every dose, on four kinds of switch and on shams, for the treated section alone."""
    arms = (PLAIN, *(arm for varied in DOSES for arm in varied.arms))
    return Bench(
        folder=folder,
        seeds=seeds,
        first_seed=first_seed,
        settings=BenchSettings(after=1),
        arms=arms,
        cases=CASES,
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every dose with what it brings and what it costs, as a Markdown table; those that nodes come with are marked."""
    found = {(row["technique"], row["case"]): row for row in rows}
    lines = [_line("plain", "-", found, PLAIN.name)]
    for varied in DOSES:
        lines += [
            _line(varied.name, marked(label, techniques), found, arm.name)
            for (label, techniques), arm in zip(varied.steps, varied.arms)
        ]
    return pictures.markdown(lines)


def marked(label: str, techniques: Sequence[Technique]) -> str:
    """The label of a dose, which says so where it is a technique's default."""
    is_default = len(techniques) == 1 and techniques[0] == type(techniques[0])()
    return f"{label} (default)" if is_default else label


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
        **pictures.costs_beside_success(row),
        "TL90 frames": pictures.number(row["tl_frames"]),
        "reached": pictures.percent(row["reached"]),
        "old content": pictures.percent(row["remaining"]),
        f"sham success ({sham['n']})": pictures.percent(sham["success"]),
        "sham gain": pictures.with_interval(sham, "gain"),
        "sham jump over plain (n)": pictures.jump_over_plain(sham),
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
    for axis, varied in zip(axes, DOSES):
        _plot_dose(axis, varied, found)
    for axis in axes[len(DOSES) :]:
        axis.axis("off")
    axes[0].legend(fontsize=8)
    figure.suptitle("Dose and response, share of episodes (left-most: plain; bars: 95 % intervals)")
    figure.savefig(path, dpi=90)
    return path


def _plot_dose(axis: Any, varied: Dose, found: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    names = [PLAIN.name, *(arm.name for arm in varied.arms)]
    pooled = [found[name, POOLED] for name in names]
    for number, (measure, label) in enumerate(MEASURES):
        axis.plot([row[measure] for row in pooled], marker="o", label=label, color=f"C{number}")
    for place, row in enumerate(pooled):
        axis.plot([place, place], row["success_ci"], color="C0", linewidth=2)
    sham = [found[name, "sham"]["success"] for name in names]
    axis.plot(sham, marker="s", linestyle="--", color="C3", label="sham: still right")
    axis.set_xticks(range(len(names)), ["plain", *(label for label, _ in varied.steps)])
    axis.set(title=varied.name, ylim=(-0.03, 1.03))
