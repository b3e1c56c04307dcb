"""The command `bench`: runs a benchmark and writes what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...benchmarks.agreement import figures
from ...benchmarks.agreement import pictures as agreement_pictures
from ...benchmarks.agreement import study as agreement
from ...benchmarks.long import pictures as long_pictures
from ...benchmarks.long import study as long_study
from ...benchmarks.long import summary as long_summary
from ...benchmarks.long.sampling import LongSampler
from ...benchmarks.reliability import summary as reliability_summary
from ...benchmarks.reliability.bench import Found, Reliability
from ...benchmarks.reliability.bench import run as run_reliability_bench
from ...benchmarks.reliability.host import Host, HostTrials
from ...benchmarks.reliability.interrupts import interrupting
from ...benchmarks.reliability.trials import Render
from ...benchmarks.speed.bench import SpeedOptions, run_speed
from ...benchmarks.speed.machine import machine
from ...benchmarks.speed.peer import PeerMissingError
from ...benchmarks.speed.table import table as speed_table
from ...benchmarks.transition import bench as transition
from ...benchmarks.transition import pictures, summary
from ...benchmarks.transition.running.recording import VIDEOS
from ...benchmarks.transition.running.results import COMPRESSED
from ...benchmarks.transition.studies import conflict, doses, preset_sets, two_subjects
from ...models.plain import plain_device
from ...samplers.context.plan import FPS
from ...tiny.bundle import load_tiny
from ..running.progress import ProgressBars
from ..running.report import Record, write_report
from ..running.runs import EXAMPLES, PACK
from ..running.server import Server
from ..workflows.errors import WorkflowError
from .studies import drift, exemplars, landing, later, loras, shots
from .studies.judging import JUDGE, judge_study
from .studies.measuring import Measure, facts_of, report_of, sheet_of
from .studies.remarks import enough, remarks_on

BENCHES = ("transition", "speed", "cache", "reliability")
# What `reliability` stops: 24 sections of the embedded model.
RENDERED = PACK / EXAMPLES / "api" / "tiny_f1.json"
RENDER_SETTINGS = ("Sampler.seconds=28.8", "Sampler.steps=2")
ALWAYS_FLOAT32 = (
    "long",
    JUDGE,
    drift.STUDY,
    landing.STUDY,
    shots.STUDY,
    later.STUDY,
)  # studies that are for quoting alone
IN_EITHER_LAYOUT = ("techniques", "doses")
IN_LAYOUT_ORIGINAL = (later.STUDY,)
UNDISTURBED, TRIALS = "undisturbed", "trials.json"


def run_transition(
    out: Path,
    seeds: int,
    study: str,
    *,
    first_seed: int = 0,
    bfloat16: bool = False,
    layout: str = "f1",
    record: Record,
    bars: ProgressBars,
    **own: Any,
) -> dict[str, Any]:
    """Runs a study of TransitionBench, or what is left of it; raises WorkflowError for options that do not fit.

    own: options of one study alone: features, model and pretrained of judge, lora and trainings of lora.
    """
    if others := [name for name in own if name not in OWN_OPTIONS.get(study, ())]:
        owner = f"--study {loras.STUDY}" if others[0] in loras.OPTIONS else f"--suite or to --study {JUDGE}"
        raise WorkflowError(f"--{others[0]} belongs to {owner}.")
    if bfloat16 and study in ALWAYS_FLOAT32:
        raise WorkflowError(f"The study {study} samples in float32; leave --bfloat16 out.")
    if layout == "f1" and study in IN_LAYOUT_ORIGINAL:
        raise WorkflowError(f"The study {study} samples in layout original; give --layout original.")
    if layout != "f1" and study not in (*IN_EITHER_LAYOUT, *IN_LAYOUT_ORIGINAL):
        backward = " or ".join((*IN_EITHER_LAYOUT, *IN_LAYOUT_ORIGINAL))
        raise WorkflowError(
            f"The study {study} samples in layout f1; leave --layout out, or take --study {backward}."
        )
    if first_seed < 0:
        raise WorkflowError(f"First seed is {first_seed}; give 0 or more.")
    if seeds < 1:
        raise WorkflowError(
            f"Seeds is {seeds}; give at least 1 (8 for a quick look, {enough(study)} or more to quote)."
        )
    measure = Measure(record, bars, bfloat16, layout)
    found = STUDIES[study](out, range(first_seed, first_seed + seeds), measure, **own)
    trained = load_tiny(layout=layout).trained
    by = {**machine(plain_device()), "threads": 1, "dtype": "bfloat16" if bfloat16 else "float32"}
    remarks = remarks_on(study, range(first_seed, first_seed + seeds), trained, by, layout=layout)
    (out / pictures.TABLE).write_text("\n".join([*remarks, "", found["text"]]), encoding="utf-8")
    print(found.pop("text"))
    quotable = seeds >= enough(study) and trained and not bfloat16
    files = {"table": pictures.TABLE, "plot": pictures.PLOT}
    files = {name: file for name, file in files.items() if (out / file).is_file()}
    return {
        "bench": "transition",
        "study": study,
        "layout": layout,
        "seeds": seeds,
        "first_seed": first_seed,
        "quotable": quotable,
        "remarks": remarks,
        "machine": by,
        **files,
        **found,
    }


def run_reliability(
    out: Path,
    stops: int,
    comfyui: Path | None,
    *,
    interrupts: bool = False,
    record: Record,
    bars: ProgressBars,
) -> dict[str, Any]:
    """Stops renders of the embedded model `stops` times in all, and compares each with one that was left alone.

    They are killed. With the checkout `comfyui` they run there, and it is that server that is killed, or with `interrupts` goes on
    and is told to interrupt them. Raises WorkflowError for a wrong number, for interrupts without a ComfyUI, and where a
    render fails by itself.
    """
    if stops < 1:
        name, enough_to_quote = ("Interrupts", 40) if interrupts else ("Kills", 200)
        raise WorkflowError(
            f"{name} is {stops}; give at least 1 (20 for a quick look, {enough_to_quote} to quote)."
        )
    if interrupts and comfyui is None:
        raise WorkflowError("--interrupts needs --comfyui, the folder of the ComfyUI to interrupt.")
    record.kept.append(out / TRIALS)

    def on_trial(found: Found) -> None:
        bars.update("bench", "Reliability", found.kills, stops)
        write_report(out / TRIALS, reliability_summary.facts(found))

    try:
        with _reliability(out, stops, comfyui, interrupts) as bench:
            found = run_reliability_bench(bench, on_trial)
    except RuntimeError as error:
        raise WorkflowError(f"{error}.") from error
    bars.close("bench")
    print(reliability_summary.table(found))
    return {"bench": "reliability", **reliability_summary.facts(found)}


@contextmanager
def _reliability(out: Path, stops: int, comfyui: Path | None, interrupts: bool) -> Iterator[Reliability]:
    """The bench, with what it needs as long as the block runs."""
    render = Render(workflow=RENDERED, settings=RENDER_SETTINGS, out=out / UNDISTURBED)
    if comfyui is None:
        yield Reliability(render=render, kills=stops)
        return
    host = Host(comfyui=comfyui, base=(out / "comfyui").resolve())
    render = replace(render, server=host.url)
    if not interrupts:
        yield Reliability(render=render, kills=stops, start=HostTrials(host).start)
        return
    with interrupting(host, Server(host.url)) as trials:
        yield Reliability(render=render, kills=stops, start=trials.start)


def run_speed_bench(options: SpeedOptions, out: Path, bars: ProgressBars) -> dict[str, Any]:
    """Times forwards and the sampler; raises WorkflowError where diffusers is missing."""
    try:
        found = run_speed(
            options, lambda done, total, name: bars.update("bench", "Speed", done, total, info={"work": name})
        )
    except PeerMissingError as error:
        raise WorkflowError(str(error)) from error
    finally:
        bars.close("bench")
    text = speed_table(found)
    out.mkdir(parents=True, exist_ok=True)
    (out / pictures.TABLE).write_text(text, encoding="utf-8")
    print(text)
    return {"bench": "speed", "table": pictures.TABLE, **found}


def _techniques(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Plain, each technique, the presets and the published baseline."""
    bench = measure.prepared(transition.Bench(folder=out, seeds=len(seeds), first_seed=seeds.start))
    found = report_of(out, bench, measure(bench), f"TransitionBench, {len(seeds)} seeds a case")
    return {**found, "text": pictures.table(found["rows"])}


def _pairs(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Two subjects, one of which is told to leave."""
    bench = measure.prepared(two_subjects.bench(out, len(seeds), seeds.start))
    results, section = measure(bench), bench.settings.section_frames
    rows = summary.rows(results, section)
    two_subjects.save_plot(out / pictures.PLOT, rows)
    return {
        **facts_of(bench, out),
        **sheet_of(out, bench, results),
        "rows": rows,
        "text": two_subjects.table(rows),
    }


def _doses(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Every technique at rising strength."""
    bench = measure.prepared(doses.bench(out, len(seeds), seeds.start))
    rows = summary.rows(measure(bench), bench.settings.section_frames)
    doses.save_plot(out / pictures.PLOT, rows)
    return {**facts_of(bench, out), "rows": rows, "text": doses.table(rows)}


def _presets(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Sets that could be presets, against what is asked of one."""
    bench = measure.prepared(preset_sets.bench(out, len(seeds), seeds.start))
    rows = summary.rows(measure(bench), bench.settings.section_frames)
    preset_sets.save_plot(out / pictures.PLOT, rows)
    return {**facts_of(bench, out), "rows": rows, "text": preset_sets.table(rows)}


def _conflict(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """What the past shows against what the prompt asks."""
    benches = conflict.benches(out, len(seeds), first_seed=seeds.start)
    cells = conflict.rows({length: measure(measure.prepared(bench)) for length, bench in benches.items()})
    conflict.save_plot(out / pictures.PLOT, cells)
    return {"cells": cells, "conclusions": conflict.conclusions(cells), "text": conflict.table(cells)}


def _long(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Videos of half a minute to a minute with many switches, and one without any."""
    bench = long_study.LongBench(folder=out, seeds=seeds)
    results = measure.kept(
        out, lambda bundle, on_steps: long_study.run(bench, LongSampler(bundle, bench.settings), on_steps)
    )
    section = bench.settings.section_frames
    rows, curves = long_summary.rows(results, section), long_summary.over_time(results)
    kinds = long_summary.kinds(results)
    long_pictures.save_plot(out / pictures.PLOT, curves, bench.switched_sections(), section / FPS)
    return {
        "settings": bench.settings.describe(),
        "techniques": {arm.name: arm.describe() for arm in bench.arms},
        "rows": rows,
        "switches_in_turn": kinds,
        "over_time": curves,
        "results": COMPRESSED,
        "text": long_pictures.table(rows, kinds),
    }


def _agreement(out: Path, seeds: range, measure: Measure) -> dict[str, Any]:
    """Whether the metrics say what is true."""
    bench = measure.prepared(agreement.bench(out, seeds))
    scored = agreement.score_all(agreement.cached_scorer(out), seeds, measure(bench), bench.folder / VIDEOS)
    agreement.save_clips(out / agreement.CLIPS, scored)
    agreement_pictures.save_plot(out / pictures.PLOT, scored)
    return {
        **facts_of(bench, out),
        "gates": figures.gates(scored),
        "kinds": figures.by_kind(scored),
        "arms": figures.arm_means(scored, "stf_reference"),
        "clips": agreement.CLIPS,
        "text": agreement_pictures.table(scored),
    }


STUDIES: dict[str, Callable[..., dict[str, Any]]] = {
    "techniques": _techniques,
    "doses": _doses,
    "presets": _presets,
    "pairs": _pairs,
    "conflict": _conflict,
    "long": _long,
    "agreement": _agreement,
    JUDGE: judge_study,
    loras.STUDY: loras.lora_study,
    exemplars.STUDY: exemplars.exemplar_study,
    drift.STUDY: drift.drift_study,
    landing.STUDY: landing.landing_study,
    shots.STUDY: shots.shot_study,
    later.STUDY: later.later_study,
}
# What one study alone is asked for.
OWN_OPTIONS = {JUDGE: ("features", "model", "pretrained"), loras.STUDY: loras.OPTIONS}
