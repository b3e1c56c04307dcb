"""The training curve of a run, from its log."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SMOOTHING = 10


def read_log(file: Path) -> list[dict[str, Any]]:
    """The entries of a run's log."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def smoothed(values: Sequence[float], width: int = SMOOTHING) -> np.ndarray:
    """Means over `width` neighbours; shorter at the beginning."""
    return np.array([np.mean(values[max(0, i + 1 - width) : i + 1]) for i in range(len(values))])


def draw_curve(entries: Sequence[dict[str, Any]], file: Path) -> None:
    """Write a PNG: the transformer's loss over its steps, and what the evaluations in between found."""
    from matplotlib.figure import Figure

    evaluations = [entry for entry in entries if entry["stage"] == "evaluate" and entry["step"] >= 0]
    panels = 2 if evaluations else 1
    figure = Figure(figsize=(8, 3 * panels), layout="constrained")
    top, *below = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    steps = {entry["step"]: entry for entry in entries if entry["stage"] == "dit" and "loss" in entry}
    phases = ((False, "tab:blue", "flow matching"), (True, "tab:orange", "distillation"))
    for distilling, colour, name in phases:
        chosen = [steps[step] for step in sorted(steps) if steps[step]["distilling"] == distilling]
        if chosen:
            losses = smoothed([e["loss"] for e in chosen])
            top.plot([e["step"] for e in chosen], losses, color=colour, label=name)
    top.set_yscale("log")
    top.set_ylabel("squared error of the velocity")
    if steps:
        top.legend()
    for panel in below:
        draw_shares(panel, evaluations)
    (below or [top])[-1].set_xlabel("step")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


def draw_shares(axes: Any, evaluations: Sequence[dict[str, Any]]) -> None:
    """Draw what the evaluations in between found."""
    shown: dict[str, Callable[[dict[str, Any]], float]] = {
        "survival over three sections": lambda e: e["survival"]["section_3"],
        "text alone": lambda e: e["zero"]["success"],
        "history shows the new scene": lambda e: e["new"]["success"],
        "plain switch": lambda e: e["plain"]["success"],
    }
    for name, value in shown.items():
        shares = [value(entry) for entry in evaluations]
        axes.plot([entry["step"] for entry in evaluations], shares, marker="o", label=name)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of episodes")
    axes.legend(fontsize="small")
