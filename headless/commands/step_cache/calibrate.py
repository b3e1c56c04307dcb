"""Magnitudes for FramePack Step Cache, measured in one run of a workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ...files.folders import Folders
from ...running.progress import ProgressBars
from ...running.report import Record, traces_of
from ...running.runs import (
    EXAMPLES,
    PACK,
    LocalRunner,
    Runner,
    ServerRunner,
    input_folder_for,
    local_nodes,
)
from ...workflows.errors import WorkflowError
from ...workflows.specs import specs_of
from ...workflows.workflow import Link, Node, Workflow

# What is calibrated where no workflow is named: one section of the embedded model after another.
CALIBRATED = PACK / EXAMPLES / "api" / "tiny_f1.json"
SAMPLER, CACHE, SHOW = "FramePackTransitionsSampler", "FramePackStepCache", "PreviewAny"


def run_calibration(
    out: Path, workflow: Path | None, server: str | None, *, record: Record, bars: ProgressBars
) -> dict[str, Any]:
    """Runs a workflow with its step cache measuring and prints the magnitudes. Raises WorkflowError as `run` does."""
    path = workflow or CALIBRATED
    places = Folders(input_folder_for(path), out)
    runner: Runner = ServerRunner(server) if server else LocalRunner()
    nodes, specs = runner.load(path, places)
    measure_in(nodes, path.name, shows_traces=server is not None)
    specs = {**specs, **specs_of(local_nodes(), (CACHE, SHOW))}
    runner.run(nodes, specs, places=places, record=record, bars=bars)
    magnitudes = mean_magnitudes(traces_of(record))
    line = ", ".join(f"{ratio:.3f}" for ratio in magnitudes)
    print(f"magnitudes for {len(magnitudes) + 1} steps, for FramePack Step Cache in mode magcache:\n{line}")
    return {"bench": "cache", "workflow": path.name, "magnitudes": magnitudes, **runner.facts()}


def measure_in(workflow: Workflow, name: str, *, shows_traces: bool) -> None:
    """Let the step caches of a workflow measure, in place, with one before every sampler that has none.

    A server gives back what nodes show, so that there the traces must be shown. Raises WorkflowError where there is no sampler with a model.
    """
    samplers = [node for node in workflow.values() if node.class_type == SAMPLER and "model" in node.inputs]
    if not samplers:
        raise WorkflowError(f"The workflow {name} has no {SAMPLER} with a model: name one that samples.")
    for node in [node for node in workflow.values() if node.class_type == CACHE]:
        node.inputs["mode"] = "measure"
    for sampler in samplers:
        if not _has_cache(workflow, sampler):
            sampler.inputs["model"] = _added(
                workflow, CACHE, {"model": sampler.inputs["model"], "mode": "measure"}
            )
        if shows_traces:
            _added(workflow, SHOW, {"source": Link(sampler.id, 1)})


def _has_cache(workflow: Workflow, sampler: Node) -> bool:
    """Whether a step cache lies on the way of the sampler's model."""
    link = sampler.inputs.get("model")
    while isinstance(link, Link) and link.node in workflow:
        if workflow[link.node].class_type == CACHE:
            return True
        link = workflow[link.node].inputs.get("model")
    return False


def _added(workflow: Workflow, class_type: str, inputs: dict[str, Any]) -> Link:
    """The first output of a node that is added to the workflow."""
    number = f"calibrate_{len(workflow)}"
    workflow[number] = Node(number, class_type, class_type, inputs)
    return Link(number, 0)


def mean_magnitudes(traces: Sequence[Mapping[str, Any]]) -> list[float]:
    """The mean over all measured sections of each step's ratio.

    Raises WorkflowError where nothing was measured, and where sections have different numbers of steps.
    """
    measured = [
        section["cache"]["magnitudes"]
        for trace in traces
        for section in trace["sections"]
        if "magnitudes" in section.get("cache", {})
    ]
    lengths = sorted({len(ratios) for ratios in measured})
    if not measured:
        raise WorkflowError(
            "No section was measured: take two steps or more, and a section that follows no switch."
        )
    if len(lengths) > 1:
        raise WorkflowError(
            f"Sections have {' and '.join(str(n + 1) for n in lengths)} steps: calibrate them apart."
        )
    return [fmean(ratios) for ratios in zip(*measured)]
