"""The command `evaluate`: scores video files by their prompts over time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...metrics import Cue, VideoScores, evaluate_video, switches_from_trace, switches_of
from ...metrics.reporting.plot import plot_scores
from ...metrics.reporting.report import report_part, text_table
from ...nodes.evaluation.models import EvaluationModels, load_models
from ...samplers.timeline.syntaxes.table import SYNTAXES, detect_syntax, parse
from ..files.media import VideoInfo, probe_video, uneven_times, video_batches
from ..running.progress import Bars
from ..running.report import Record
from ..workflows.errors import WorkflowError

FEATURES = ("clip", "pixel", "tiny")  # clip_vision is a connection in ComfyUI
USUAL_WINDOW = 9
TEXT_FILES = (".json", ".txt")


@dataclass(frozen=True)
class Request:
    """What the command line asks for; see its help."""

    video: Path
    report: Path
    timeline: str | None = None
    compare: Sequence[Path] = ()
    features: str = "pixel"
    model: str = "ViT-B-32"
    pretrained: str = "laion2b_s34b_b79k"
    window: int = 0
    concept: str | None = None
    detector: str = "auto"
    detector_model: str | None = None
    object_free: Path | None = None
    reference: Path | None = None
    target: Path | None = None
    plot: Path | None = None


@dataclass(frozen=True)
class Timeline:
    """What was asked of the videos: prompts over time, or the trace of each video by its file name ("" = any)."""

    text: str = ""
    cues: tuple[Cue, ...] = ()
    traces: Mapping[str, Mapping[str, Any]] | None = None

    def cues_for(self, info: VideoInfo, window: int) -> tuple[Cue, ...]:
        """The prompts; a text that divides the video is read by the video's length."""
        if not self.text:
            return self.cues
        section, count = 4 * (window or USUAL_WINDOW) / info.fps, 1
        if window or SYNTAXES[detect_syntax(self.text)].counts_sections:
            count = max(round((info.frames - 1) / info.fps / section), 1)
        else:
            section = info.frames / info.fps
        spans = parse(self.text, sections=count, section_seconds=section)
        return tuple(Cue(span.start, span.text, span.state) for span in spans)

    def trace_of(self, path: Path) -> Mapping[str, Any] | None:
        """The trace of a video, None where there is none; raises ValueError when it is not clear which is its."""
        if self.traces is None:
            return None
        if "" in self.traces:
            return self.traces[""]
        if path.name in self.traces:
            return self.traces[path.name]
        raise ValueError(
            f"the timeline's report tells of {', '.join(self.traces)}, not of {path.name}: give the name that the video "
            "had, or the prompts as text"
        )


def run_evaluate(request: Request, record: Record, bars: Bars) -> dict[str, Any]:
    """Scores the videos, prints a table and draws the plot; raises WorkflowError with a sentence."""
    try:
        return _evaluate(request, record, bars)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sentence = " ".join(str(error).split()).rstrip(".")
        raise WorkflowError(f"{sentence[:1].upper()}{sentence[1:]}.") from error


def _evaluate(request: Request, record: Record, bars: Bars) -> dict[str, Any]:
    paths = [request.video, *request.compare]
    _check_output(request)
    timeline = read_timeline(request.timeline) if request.timeline is not None else Timeline()
    infos = {
        path: _probe(path)
        for path in (*paths, request.reference, request.target, request.object_free)
        if path
    }
    remarks = [remark for path in paths for remark in _remarks(path, infos[path], timeline, request)]
    models = load_models(
        request.features,
        model=request.model,
        pretrained=request.pretrained,
        concept=request.concept or "",
        detector=request.detector,
        detector_model=request.detector_model or "",
    )
    shared = {
        role: models.measured(_stream(path, role, infos[path], bars), infos[path].fps)
        for role in ("reference", "target")
        if (path := getattr(request, role)) is not None
    }
    if (path := request.object_free) is not None:
        shared["object_free"] = models.confidences(_stream(path, "object free", infos[path], bars))
    scores = [_score(path, infos[path], timeline, request, models, shared, bars) for path in paths]
    if len(scores) > 1:
        scores = [replace(video, name=name) for video, name in zip(scores, _names(paths))]
    record.texts.append({"text": text_table(scores), "node": None})
    facts = report_part(scores)
    if request.plot is not None:
        request.plot.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(plot_scores(scores)).save(request.plot, format="PNG")
        facts["plot"] = record.relative(request.plot)
    for path in paths:
        record.add_video(path, infos[path])
    return {**facts, "timeline": request.timeline, "window": request.window, "remarks": remarks}


def read_timeline(given: str) -> Timeline:
    """Prompts over time from a text, or from a file: a text, a trace, a report with traces, or a list of prompts.

    Raises ValueError or PromptSyntaxError in a sentence, and FileNotFoundError.
    """
    if not given.strip():
        raise ValueError("the timeline is empty: write at least one prompt, or leave --timeline out")
    path = Path(given)
    if not _is_file(path, given):
        return Timeline(text=given)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the timeline {path.name} is no text in UTF-8") from error
    if path.suffix.lower() != ".json":
        return Timeline(text=text)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the timeline {path.name} is no JSON: {error}") from error
    return _timeline_of(data, path.name)


def _is_file(path: Path, given: str) -> bool:
    """Whether a file is meant; raises FileNotFoundError when it is, and is not there."""
    try:
        exists = path.is_file()
    except (OSError, ValueError):  # a prompt may be too long for a name, or hold what no name may
        return False
    if not exists and "\n" not in given and path.suffix.lower() in TEXT_FILES:
        raise FileNotFoundError(f"the timeline {given} does not exist")
    return exists


def _timeline_of(data: Any, name: str) -> Timeline:
    if isinstance(data, list):
        return Timeline(cues=tuple(_cue(entry, name) for entry in data))
    if isinstance(data, dict) and "sections" in data:
        return Timeline(traces={"": data})
    traces = [entry["trace"] for entry in data.get("traces", ())] if isinstance(data, dict) else []
    if len(traces) == 1:
        return Timeline(traces={"": traces[0]})
    videos = [Path(video["path"]).name for video in data.get("videos", ())] if traces else []
    if traces and len(videos) == len(traces):
        return Timeline(traces=dict(zip(videos, traces)))
    raise ValueError(
        f"{name} holds no timeline: give a trace, the report.json of a run with a sampler, or a list of "
        '{"start": seconds, "prompt": text}'
    )


def _cue(entry: Any, name: str) -> Cue:
    try:
        interval = entry.get("interval")
        return Cue(
            float(entry["start"]),
            str(entry["prompt"]),
            str(entry.get("state", "")),
            float(entry.get("change", 1.0)),
            None if interval is None else (float(interval[0]), float(interval[1])),
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{name}: {json.dumps(entry, ensure_ascii=False)} is no entry of a timeline, which needs a start in "
            "seconds and a prompt"
        ) from error


def _check_output(request: Request) -> None:
    given = request.timeline and Path(request.timeline)
    if given and _is_file(given, request.timeline) and request.report.resolve() == given.resolve():
        raise ValueError(f"the report would overwrite the timeline {given}: give another name with --out")
    if request.plot is not None and request.plot.suffix.lower() != ".png":
        raise ValueError(
            f"the plot is a PNG picture, but --plot says {request.plot.name}: give a name with .png"
        )


def _probe(path: Path) -> VideoInfo:
    if not path.is_file():
        raise FileNotFoundError(f"the video {path} does not exist")
    info = probe_video(path)
    if not info.fps > 0:
        raise ValueError(f"the video {path.name} does not say its frames a second: convert it to MP4 first")
    return info


def _remarks(path: Path, info: VideoInfo, timeline: Timeline, request: Request) -> Iterator[str]:
    """What must be known to read the scores; raises ValueError when a video cannot have the switches."""
    trace, cues = timeline.trace_of(path), timeline.cues_for(info, request.window)
    if info.frames == 1 and (trace or cues):
        raise ValueError(f"the video {path.name} has a single frame, in which nothing can change")
    window = 0 if trace is not None else request.window
    switches = (
        switches_from_trace(trace, fps=info.fps)
        if trace is not None
        else switches_of(cues, fps=info.fps, window=window)
    )
    for switch in switches:
        if switch.frame >= info.frames:
            raise ValueError(
                f"the switch at {switch.seconds(info.fps):.2f} s (frame {switch.frame}) lies after the end of "
                f"{path.name}, which has {info.frames} frames, {info.frames / info.fps:.2f} s"
            )
    if (trace or cues) and not switches:
        yield f"{path.name}: the timeline holds a single prompt, so there is nothing to score."
    grid = (
        switches_of(cues, fps=info.fps, window=USUAL_WINDOW) if cues and not window and trace is None else []
    )
    moved = [(a.frame, b.frame) for a, b in zip(switches, grid) if a.frame != b.frame]
    if moved and len(grid) == len(switches) and info.frames % (4 * USUAL_WINDOW) == 1:
        yield (
            f"{path.name} is as long as a video of FramePack with window 9. If it is one, its switch lies at frame "
            f"{moved[0][1]}, not {moved[0][0]}: say --window 9."
        )


def _score(
    path: Path,
    info: VideoInfo,
    timeline: Timeline,
    request: Request,
    models: EvaluationModels,
    shared: Mapping[str, Any],
    bars: Bars,
) -> VideoScores:
    trace = timeline.trace_of(path)
    return evaluate_video(
        _stream(path, path.name, info, bars),
        timeline.cues_for(info, request.window),
        fps=info.fps,
        window=request.window,
        trace=trace,
        timestamps=uneven_times(path),
        name=path.name,
        **models.options(),
        **shared,
    )


def _stream(path: Path, label: str, info: VideoInfo, bars: Bars) -> Iterator[np.ndarray]:
    """The frames of a video in batches, with a progress bar."""
    done = 0
    for batch in video_batches(path):
        yield batch
        done += len(batch)
        bars.update(str(path) + label, label, done, max(done, info.frames))
    bars.close(str(path) + label)


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, with their folders where they would be the same."""
    names = [path.name for path in paths]
    return [str(path) if names.count(path.name) > 1 else path.name for path in paths]
