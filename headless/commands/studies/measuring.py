"""Measures what a study asks for with the embedded model, and says what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ....benchmarks.transition import bench as transition
from ....benchmarks.transition import pictures, summary
from ....benchmarks.transition.running.kept_batches import OnSteps
from ....benchmarks.transition.running.results import COMPRESSED, EPISODES, Line, Result, save_compressed
from ....benchmarks.transition.running.sampling import EpisodeSampler
from ....benchmarks.transition.running.tasks import available_cores
from ....models.plain import plain_device
from ....tiny.bundle import TinyBundle, load_tiny
from ...running.progress import ProgressBars
from ...running.report import Record

R = TypeVar("R", bound=Line)
# Measures with the embedded model, and tells how far it is.
Run = Callable[[TinyBundle, OnSteps], list[R]]


@dataclass(frozen=True)
class Measure:
    """Measures what a study asks for, with its progress on a bar; what is finished stays when it is broken off."""

    record: Record
    bars: ProgressBars
    bfloat16: bool = False
    layout: str = "f1"

    def prepared(self, bench: transition.Bench) -> transition.Bench:
        """The bench as it is to be sampled, in the type and in the layout that were asked for."""
        settings = replace(bench.settings, bfloat16=self.bfloat16, layout=self.layout)
        return replace(bench, settings=settings)

    def __call__(self, bench: transition.Bench) -> list[Result]:
        """The results of a bench."""
        bundle, device = self._prepared(bench.folder)
        results = transition.run(
            bench,
            EpisodeSampler(bundle, bench.settings),
            # Processes load the model themselves, on the CPU.
            available_cores() if device.type == "cpu" else 1,
            self._on_steps,
        )
        self.bars.close("bench")
        save_compressed(bench.folder, results)
        return results

    def kept(self, folder: Path, run: Run[R]) -> list[R]:
        """The results of a study with a run of its own, which keeps them in `folder`."""
        bundle, _ = self._prepared(folder)
        results = run(bundle, self._on_steps)
        self.bars.close("bench")
        save_compressed(folder, results)
        return results

    def _prepared(self, folder: Path) -> tuple[TinyBundle, torch.device]:
        """The embedded model on its device."""
        self.record.kept.append(folder / EPISODES)
        bundle, device = load_tiny(layout=self.layout), plain_device()
        bundle.dit.to(device)
        return bundle, device

    def _on_steps(self, done: int, total: int, case: str) -> None:
        self.bars.update("bench", "TransitionBench", done, total, info={"case": case})


def facts_of(bench: transition.Bench, out: Path) -> dict[str, Any]:
    """What was measured and how."""
    return {
        "settings": bench.settings.describe(),
        "techniques": {arm.name: arm.describe() for arm in bench.arms},
        "results": (bench.folder / COMPRESSED).relative_to(out).as_posix(),
    }


def report_of(out: Path, bench: transition.Bench, results: list[Result], title: str) -> dict[str, Any]:
    """What a study of switches reports of its episodes: facts, plot, contact sheet and one row an arm and case."""
    section = bench.settings.section_frames
    rows = summary.rows(results, section)
    pictures.save_plot(out / pictures.PLOT, rows, results=results, section=section, title=title)
    return {**facts_of(bench, out), **sheet_of(out, bench, results), "rows": rows}


def sheet_of(out: Path, bench: transition.Bench, results: list[Result]) -> dict[str, str]:
    """The contact sheet, where there is anything to draw."""
    sheet = pictures.save_sheet(out / pictures.SHEET, results, out, bench.settings)
    return {} if sheet is None else {"contact_sheet": sheet.name}
