"""What the runs of a sweep have made, measured: a result for each video or picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....metrics import VideoScores, evaluate_video
from ....metrics.scoring.registry import METRICS
from ....nodes.evaluation.models import EvaluationModels
from ....nodes.files.reading import said
from ...files.media import probe_video, video_batches
from ...files.pictures import load_image
from .runs import Run

CALLS, SECONDS = "model calls", "seconds"  # what a run costs


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A video or picture of a run, or a run that made nothing.

    run: the run.
    file: its file from the folder of the run; "" for none.
    measures: numbers by the name that tables use; what cannot be told is missing.
    failing: the names of the guards that fail.
    switch, borders: the first frame under the second prompt, None without one, and those of the sections after the first.
    thumbnails: small pictures uint8 [h,w,3] by the number of the frame.
    remark: why it was not scored; "" where it was.
    scores: the whole evaluation, None without one.
    """

    run: Run
    file: str = ""
    measures: Mapping[str, float]
    failing: Sequence[str] = ()
    switch: int | None = None
    borders: Sequence[int] = ()
    thumbnails: Mapping[int, NDArray[np.uint8]]
    remark: str = ""
    scores: VideoScores | None = None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.run.folder / self.file

    def to_json(self) -> dict[str, Any]:
        """A row of the report."""
        return {
            "values": dict(self.run.unit.values),
            "unit": self.run.folder.name,
            "file": self.file or None,
            **{name: round(value, 4) for name, value in self.measures.items()},
            "failing_guards": list(self.failing),
            "remark": self.remark,
            "problems": list(self.run.problems),
        }


def results_of(run: Run, models: EvaluationModels) -> Iterator[Result]:
    """The results of a run: its videos, else its pictures, else one that says that there is neither."""
    costs = _costs(run)
    videos, images = (run.report.get(kind, ()) for kind in ("videos", "images"))
    traces = [entry["trace"] for entry in run.report.get("traces", ())]
    for number, video in enumerate(videos):
        trace = traces[number] if len(traces) == len(videos) else None
        yield _video_result(run, video["path"], trace, costs=costs, models=models)
    if not videos:
        for image in images:
            yield Result(
                run=run, file=image["path"], measures=costs, thumbnails=_thumbnail(run.folder / image["path"])
            )
    if not (videos or images):
        remark = "; ".join(run.problems) or "it has saved neither a video nor a picture"
        yield Result(run=run, measures=costs, thumbnails={}, remark=remark)


def _costs(run: Run) -> dict[str, float]:
    sections = [
        section for entry in run.report.get("traces", ()) for section in entry["trace"].get("sections", ())
    ]
    calls = {CALLS: float(sum(section["evaluations"] for section in sections))} if sections else {}
    return {**calls, **({SECONDS: float(run.report["seconds"])} if run.report else {})}


def _video_result(
    run: Run,
    file: str,
    trace: Mapping[str, Any] | None,
    *,
    costs: Mapping[str, float],
    models: EvaluationModels,
) -> Result:
    path = run.folder / file
    try:
        info = probe_video(path)
        scores = evaluate_video(video_batches(path), fps=info.fps, trace=trace, name=file, **models.options())
    except ValueError as error:  # such as a video of a single frame
        return Result(run=run, file=file, measures=costs, thumbnails={}, remark=said(error))
    borders = [section["frames"][0] for section in (trace or {}).get("sections", ())]
    guards = [*scores.guards, *(guard for switch in scores.switches for guard in switch.guards)]
    return Result(
        run=run,
        file=file,
        measures={**_averages(scores), **costs},
        failing=list(dict.fromkeys(guard.name for guard in guards if not guard.ok)),
        switch=scores.switches[0].switch.frame if scores.switches else None,
        borders=sorted(borders)[1:],
        thumbnails=scores.measurements.thumbnails,
        remark="" if scores.switches else _unscored(trace),
        scores=scores,
    )


def _unscored(trace: Mapping[str, Any] | None) -> str:
    return "no trace came with it" if trace is None else "its prompt does not change"


def _averages(scores: VideoScores) -> dict[str, float]:
    """The averages over the switches that are known, by the names of the metrics."""
    found = {}
    for spec in METRICS:
        value = scores.summary.get(f"{spec.key}_restricted_mean" if spec.is_wait else spec.key, np.nan)
        if isfinite(value):
            found[spec.name] = float(value)
    return found


def _thumbnail(path: Path) -> dict[int, NDArray[np.uint8]]:
    """A picture, with about as many pixels as the thumbnails of a video."""
    image = load_image(path)[0][0].numpy()
    step = max(1, min(image.shape[:2]) // 96)
    return {0: np.round(image[::step, ::step] * 255).astype(np.uint8)}
