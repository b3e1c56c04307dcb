"""The command `bench`: which benchmark its options ask for, and which of them do not go together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..benchmarks.speed.bench import SpeedOptions
from ..models.plain import plain_device
from .bench_arguments import KILLS, STUDY_SEEDS
from .commands.bench import run_reliability, run_speed_bench, run_transition
from .commands.step_cache.calibrate import run_calibration
from .commands.step_cache.study import run_cache_study
from .commands.studies.loras import OPTIONS as LORA_OPTIONS
from .commands.suites.command import run_suite
from .commands.suites.measuring import SuiteOptions
from .commands.suites.ratings import run_ratings
from .running.progress import ProgressBars
from .running.report import Record
from .workflows.errors import WorkflowError

MODEL_OPTIONS = ("features", "model", "pretrained")  # of suites and of the study that judges
SUITE_OPTIONS = (
    "workflow",
    "server",
    "dask",
    *MODEL_OPTIONS,
    "detector",
    "detector_model",
    "rate",
    "segment",
    "image",
)
# What one bench alone reads, with what stands for nothing given.
OWN_OPTIONS: dict[str, dict[str, Any]] = {
    "transition": {
        "study": "techniques",
        "suite": None,
        "ratings": None,
        "seeds": None,
        "first_seed": 0,
        "bfloat16": False,
        "layout": "f1",
        **dict.fromkeys((*SUITE_OPTIONS, *LORA_OPTIONS)),
    },
    "speed": {
        "size": None,
        "rounds": SpeedOptions.rounds,
        "threads": None,
        "no_peer": False,
        "compile": False,
    },
    "reliability": {"kills": None, "interrupts": None, "comfyui": None},
    "cache": {"calibrate": False, "comfyui": None, "seeds": None, "workflow": None, "server": None},
}


def run_bench(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Runs the benchmark that the options name; raises WorkflowError for options that do not go together."""
    _refuse_options_of_other_benches(options)
    if options.bench == "speed":
        return run_speed_bench(_speed_options(options), options.out, bars)
    if options.bench == "cache":
        return _bench_cache(options, record, bars)
    if options.bench == "reliability":
        return _bench_reliability(options, record, bars)
    return _bench_transition(options, record, bars)


def _bench_reliability(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    if options.device is not None:
        raise WorkflowError(
            "--device is not for bench reliability, whose renders run on the CPU; leave it out."
        )
    kills, interrupts = options.kills, options.interrupts
    if kills is not None and interrupts is not None:
        raise WorkflowError("Renders are either killed or interrupted: give --kills or --interrupts.")
    stops = interrupts if kills is None else kills
    return run_reliability(
        options.out,
        KILLS if stops is None else stops,
        options.comfyui,
        interrupts=interrupts is not None,
        record=record,
        bars=bars,
    )


def _bench_transition(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    own = _given(options, SUITE_OPTIONS)
    if options.suite is None:
        return _study_or_ratings(options, own, record, bars)
    for_studies = {
        "--bfloat16": options.bfloat16,
        "--first-seed": options.first_seed,
        "--layout": options.layout != "f1",
        **{f"--{name}": True for name in _given(options, LORA_OPTIONS)},
    }
    if given := [name for name, value in for_studies.items() if value]:
        raise WorkflowError(f"{given[0]} belongs to --study; leave it out with --suite.")
    return run_suite(
        SuiteOptions(suite=options.suite, out=options.out, seeds=options.seeds, **own), record, bars
    )


def _study_or_ratings(
    options: argparse.Namespace, own: Mapping[str, Any], record: Record, bars: ProgressBars
) -> dict[str, Any]:
    for_loras = _given(options, LORA_OPTIONS)
    if options.ratings is not None:
        if given := [*own, *for_loras]:
            owner = "--suite" if given[0] in own else "--study"
            raise WorkflowError(f"--{given[0]} belongs to {owner}, which is missing.")
        return run_ratings(options.out, options.ratings, record)
    if others := [name for name in own if name not in MODEL_OPTIONS]:
        raise WorkflowError(f"--{others[0]} belongs to --suite, which is missing.")
    return run_transition(
        options.out,
        STUDY_SEEDS if options.seeds is None else options.seeds,
        options.study,
        first_seed=options.first_seed,
        bfloat16=options.bfloat16,
        layout=options.layout,
        record=record,
        bars=bars,
        **own,
        **for_loras,
    )


def _given(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _refuse_options_of_other_benches(options: argparse.Namespace) -> None:
    shared = OWN_OPTIONS.get(options.bench, {})
    others = {bench: own for bench, own in OWN_OPTIONS.items() if bench != options.bench}
    for bench, own in others.items():
        theirs = (name for name in own if name not in shared)
        for name in (name for name in theirs if getattr(options, name) != own[name]):
            raise WorkflowError(
                f"--{name.replace('_', '-')} belongs to bench {bench}, but this is bench {options.bench}."
            )


def _bench_cache(options: argparse.Namespace, record: Record, bars: ProgressBars) -> dict[str, Any]:
    if options.calibrate:
        server = _only_server(options.server)
        return run_calibration(options.out, options.workflow, server, record=record, bars=bars)
    for name in ("workflow", "server"):
        if getattr(options, name) is not None:
            raise WorkflowError(
                f"--{name} belongs to bench cache --calibrate; add --calibrate, or leave it out."
            )
    seeds = STUDY_SEEDS if options.seeds is None else options.seeds
    return run_cache_study(options.out, seeds, options.comfyui, record=record, bars=bars)


def _only_server(servers: Sequence[str] | None) -> str | None:
    if servers and len(servers) > 1:
        raise WorkflowError(
            f"--server is given {len(servers)} times, but a calibration is one run: give it once."
        )
    return servers[0] if servers else None


def _speed_options(options: argparse.Namespace) -> SpeedOptions:
    if options.threads is not None:
        if options.threads < 1:
            raise WorkflowError(f"--threads is {options.threads}; give at least 1.")
        torch.set_num_threads(options.threads)
    if options.rounds < 1:
        raise WorkflowError(f"--rounds is {options.rounds}; give at least 1.")
    device = plain_device()
    return SpeedOptions(
        device=device,
        size=options.size or ("mid" if device.type == "cpu" else "13b"),
        rounds=options.rounds,
        peer=not options.no_peer,
        compiled=options.compile,
    )
