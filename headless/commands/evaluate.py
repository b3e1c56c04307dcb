"""The command `evaluate`: scores video files by their prompts over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...metrics import VideoScores, evaluate_video, switches_from_trace, switches_of
from ...metrics.reporting.plot import plot_scores
from ...metrics.reporting.report import report_part, text_table
from ...nodes.evaluation.models import EvaluationModels, load_models
from ..files.media import VideoInfo, probe_timed_video, uneven_times, video_batches
from ..running.progress import ProgressBars
from ..running.report import Record
from ..workflows.errors import WorkflowError, as_sentences
from .timelines import USUAL_WINDOW, Timeline, names_file, read_timeline

FEATURES = ("clip", "pixel", "tiny")  # clip_vision is a connection in ComfyUI


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
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
    distractors: str = ""
    object_free: Path | None = None
    reference: Path | None = None
    target: Path | None = None
    plot: Path | None = None
    kept: str | None = None
    penalty: float = 1.0
    lpips: Path | None = None


def run_evaluate(options: EvaluateOptions, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Scores the videos, prints a table and draws the plot; raises WorkflowError with a sentence."""
    try:
        return _evaluate(options, record, bars)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise WorkflowError(as_sentences(" ".join(str(error).split()))) from error


def _evaluate(options: EvaluateOptions, record: Record, bars: ProgressBars) -> dict[str, Any]:
    paths = [options.video, *options.compare]
    _check_output(options)
    timeline = read_timeline(options.timeline) if options.timeline is not None else Timeline()
    others = (options.reference, options.target, options.object_free)
    infos = {path: _probe(path) for path in (*paths, *others) if path}
    remarks = [remark for path in paths for remark in _remarks(path, infos[path], timeline, options)]
    evaluation = _Evaluation(
        options=options, timeline=timeline, infos=infos, models=_load_models(options), bars=bars
    )
    scores = evaluation.scores(paths)
    record.texts.append({"text": text_table(scores), "node": None})
    facts = report_part(scores)
    if options.plot is not None:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(plot_scores(scores)).save(options.plot, format="PNG")
        facts["plot"] = record.relative(options.plot)
    for path in paths:
        record.add_video(path, infos[path])
    return {**facts, "timeline": options.timeline, "window": options.window, "remarks": remarks}


def _load_models(options: EvaluateOptions) -> EvaluationModels:
    return load_models(
        options.features,
        model=options.model,
        pretrained=options.pretrained,
        concept=options.concept or "",
        detector=options.detector,
        detector_model=options.detector_model or "",
        kept=options.kept or "",
        lpips=str(options.lpips or ""),
        distractors=options.distractors,
    )


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """Scores video files.

    options, timeline: what the command line asks for.
    infos: what every video file says about itself.
    models: the extractor and the detector.
    bars: shows how far the reading of a file is.
    """

    options: EvaluateOptions
    timeline: Timeline
    infos: Mapping[Path, VideoInfo]
    models: EvaluationModels
    bars: ProgressBars

    def scores(self, paths: Sequence[Path]) -> list[VideoScores]:
        """The scores of these videos, all with the same reference, target and object-free video."""
        for path in paths:
            self.models.warn_of_unknown_words(self.timeline.texts_for(self.infos[path], self.options.window))
        shared = self._shared()
        scores = [self._score(path, shared) for path in paths]
        if len(scores) == 1:
            return scores
        return [replace(video, name=name) for video, name in zip(scores, _names(paths))]

    def _shared(self) -> dict[str, Any]:
        """The measurements of the videos that all others are compared with."""
        shared: dict[str, Any] = {
            role: self.models.measured(self._stream(path, role), self.infos[path].fps)
            for role, path in (("reference", self.options.reference), ("target", self.options.target))
            if path is not None
        }
        if self.options.object_free is not None:
            frames = self._stream(self.options.object_free, "object free")
            shared["object_free"] = self.models.confidences(frames)
        return shared

    def _score(self, path: Path, shared: Mapping[str, Any]) -> VideoScores:
        info = self.infos[path]
        return evaluate_video(
            self._stream(path, path.name),
            self.timeline.cues_for(info, self.options.window),
            fps=info.fps,
            window=self.options.window,
            trace=self.timeline.trace_of(path),
            timestamps=uneven_times(path),
            name=path.name,
            penalty=self.options.penalty,
            **self.models.options(),
            **shared,
        )

    def _stream(self, path: Path, label: str) -> Iterator[NDArray[np.uint8]]:
        """The frames of a video in batches, with a progress bar."""
        done, key = 0, str(path) + label
        for batch in video_batches(path):
            yield batch
            done += len(batch)
            self.bars.update(key, label, done, max(done, self.infos[path].frames))
        self.bars.close(key)


def _check_output(options: EvaluateOptions) -> None:
    """Raises ValueError when the report or the plot could not be written, or would overwrite the timeline."""
    for role, file in (("report", options.report), ("plot", options.plot)):
        if file is not None and file.is_dir():
            raise ValueError(f"the {role} {file} is a folder: give the name of a file in it")
    text = options.timeline
    if text and names_file(Path(text), text) and options.report.resolve() == Path(text).resolve():
        raise ValueError(f"the report would overwrite the timeline {text}: give another name with --out")
    if options.plot is not None and options.plot.suffix.lower() != ".png":
        raise ValueError(
            f"the plot is a PNG picture, but --plot says {options.plot.name}: give a name with .png"
        )


def _probe(path: Path) -> VideoInfo:
    if path.is_dir():
        raise ValueError(f"the video {path} is a folder: name a file in it")
    if not path.is_file():
        raise FileNotFoundError(f"the video {path} does not exist")
    return probe_timed_video(path)


def _remarks(path: Path, info: VideoInfo, timeline: Timeline, options: EvaluateOptions) -> Iterator[str]:
    """What must be known to read the scores; raises ValueError when a video cannot have the switches."""
    trace, cues = timeline.trace_of(path), timeline.cues_for(info, options.window)
    if info.frames == 1 and (trace or cues):
        raise ValueError(f"the video {path.name} has a single frame, in which nothing can change")
    window = 0 if trace is not None else options.window
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


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, with their folders where they would be the same."""
    names = [path.name for path in paths]
    return [str(path) if names.count(path.name) > 1 else path.name for path in paths]
