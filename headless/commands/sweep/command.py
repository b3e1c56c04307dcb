"""The command `sweep`: runs a workflow with every combination of some values, here or at several places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....nodes.evaluation.models import EvaluationModels, load_models
from ....nodes.kept_records import SECTIONS
from ...files.folders import Folders
from ...running.progress import ProgressBars
from ...running.report import Record
from ...running.runs import input_folder_for
from ...spreading.places import Place, load_for, opened_places
from ...spreading.spread import spread
from ...workflows.errors import WorkflowError, as_sentences
from ...workflows.workflow import Setting, apply_settings
from ..evaluate import EvaluateOptions
from . import pictures
from .grid import Axis, Unit, units_of
from .results import Result, results_of
from .runs import Run, Runs

BAR = "sweep"


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What the command line asks for; see its help."""

    workflow: Path
    grid: Sequence[Axis]
    out: Path
    settings: Sequence[Setting] = ()
    input: Path | None = None
    server: Sequence[str] = ()
    dask: str | None = None
    features: str = "pixel"
    model: str = EvaluateOptions.model
    pretrained: str = EvaluateOptions.pretrained


def run_sweep(options: SweepOptions, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Runs what is not there yet, measures everything and draws it; raises WorkflowError with a sentence."""
    # Before hours of sampling, not after.
    models = _models(options)
    source = options.input or input_folder_for(options.workflow)
    folders = Folders(source, options.out, records=options.out / SECTIONS)
    with opened_places(options.server, options.dask) as places:
        workflow, specs = load_for(places, options.workflow, folders)
        apply_settings(workflow, options.settings, specs)
        units = units_of(options.grid, workflow, specs, folders)
        _check(units, places[0], folders)
        runs = Runs(name=options.workflow.name, specs=specs, folders=folders)
        found = _all_results(runs, units, places, models, record=record, bars=bars)
    return _facts(options, places, [result for unit in units for result in found[unit]])


def _models(options: SweepOptions) -> EvaluationModels:
    try:
        return load_models(options.features, model=options.model, pretrained=options.pretrained)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise WorkflowError(as_sentences(str(error))) from error


def _check(units: Sequence[Unit], place: Place, folders: Folders) -> None:
    """Raises WorkflowError for all that is known to be wrong with any unit."""
    problems: list[str] = []
    for unit in units:
        try:
            place.runner.check(unit.workflow, folders)
        except WorkflowError as error:
            problems += [f"{unit.label}: {problem}" for problem in error.problems]
    if problems:
        raise WorkflowError(problems)


def _all_results(
    runs: Runs,
    units: Sequence[Unit],
    places: Sequence[Place],
    models: EvaluationModels,
    *,
    record: Record,
    bars: ProgressBars,
) -> dict[Unit, list[Result]]:
    """The results of each unit: of those that are there, and of those that are made now."""
    found: dict[Unit, list[Result]] = {}

    def take(unit: Unit, run: Run) -> None:
        found[unit] = list(results_of(run, models))
        for entry in run.report.get("videos", ()):
            path = record.relative(run.folder / entry["path"])
            record.videos.append({**entry, "path": path, "node": None})
        bars.update(BAR, "Sweep", len(found), len(units), info={"done": unit.label})

    bars.update(BAR, "Sweep", 0, len(units))
    there = {unit: run for unit in units if (run := runs.finished(unit)) is not None}
    for unit, run in there.items():
        take(unit, run)
    missing = [unit for unit in units if unit not in there]
    spread(missing, places, lambda place, unit, own: runs.make(unit, place.runner, own), take)
    bars.close(BAR)
    return found


def _facts(options: SweepOptions, places: Sequence[Place], results: Sequence[Result]) -> dict[str, Any]:
    """What goes into the report, with the table, the contact sheet and the plot beside it."""
    text = pictures.table(results, options.grid)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / pictures.TABLE).write_text(text, encoding="utf-8")
    print(text)
    sheet = pictures.save_contact_sheet(options.out / pictures.SHEET, results)
    plot = pictures.save_plot(options.out / pictures.PLOT, results, options.grid)
    return {
        "workflow": options.workflow.name,
        "servers": list(options.server),
        "dask": options.dask,
        "features": options.features,
        "grid": {axis.name: list(axis.values) for axis in options.grid},
        "rows": [result.to_json() for result in results],
        "failed": [result.run.folder.name for result in results if result.run.problems],
        "switches": [
            [entry.to_json(result.scores.fps) for entry in result.scores.switches]
            for result in results
            if result.scores
        ],
        "table": pictures.TABLE,
        **({"contact_sheet": pictures.SHEET} if sheet else {}),
        **({"plot": pictures.PLOT} if plot else {}),
    }
