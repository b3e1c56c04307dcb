"""report.json: what a run wrote and how, in the schema that all commands share (see docs/REPORT.md)."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...metrics.reporting.report import SCHEMA, switch_entry
from ...metrics.switches import switches_from_trace
from ...samplers.denoising.trace import TRACE_SCHEMA
from ..files.media import VIDEO_EXTENSIONS, VideoInfo, probe_video
from ..workflows.errors import WorkflowError
from ..workflows.executor import Observer
from ..workflows.workflow import Node

FILE_NAME = "report.json"
TRACE_TYPE = "FRAMEPACK_TRACE"


@dataclass
class Record(Observer):
    """What one run makes and how long it takes; an observer of the run.

    out: the folder that the report will lie in; paths in the report are relative to it.
    videos, images, texts, traces, nodes: entries of the report under these names.
    kept: files that grow while the run goes on and let it be continued.
    """

    out: Path
    videos: list[dict[str, Any]] = field(default_factory=list, init=False)
    images: list[dict[str, Any]] = field(default_factory=list, init=False)
    texts: list[dict[str, Any]] = field(default_factory=list, init=False)
    traces: list[dict[str, Any]] = field(default_factory=list, init=False)
    nodes: list[dict[str, Any]] = field(default_factory=list, init=False)
    kept: list[Path] = field(default_factory=list, init=False)
    _began: float = field(default_factory=time.perf_counter, init=False)

    def add_file(self, node: Node, path: Path) -> None:
        """Notes a file in `out`; a video's frames, rate and size are read from the file itself."""
        if path.suffix.lower() in VIDEO_EXTENSIONS:
            self.add_video(path, probe_video(path), node.id)
        else:
            self.images.append({"path": self.relative(path), "node": node.id})

    def add_video(self, path: Path, info: VideoInfo, node: str | None = None) -> None:
        """Notes a video, made by a node or already there."""
        self.videos.append(
            {
                "path": self.relative(path),
                "frames": info.frames,
                "fps": info.fps,
                "size": [info.width, info.height],
                "node": node,
            }
        )

    def relative(self, path: Path) -> str:
        """How the report names a file: from the folder that it lies in, where that is possible."""
        try:
            return Path(os.path.relpath(path.resolve(), self.out.resolve())).as_posix()
        except ValueError:  # another drive
            return path.resolve().as_posix()

    def add_text(self, node: Node, text: str) -> None:
        """Notes a text that a node shows."""
        self.texts.append({"text": text, "node": node.id})

    def finished(self, node: Node, outputs: Mapping[str, Any], ui: Mapping[str, Any], seconds: float) -> None:
        """Notes how long the node took, its trace, and the files and texts that it shows."""
        self.nodes.append(
            {"node": node.id, "class": node.class_type, "title": node.title, "seconds": round(seconds, 3)}
        )
        if TRACE_TYPE in outputs:
            self.traces.append({"node": node.id, "trace": outputs[TRACE_TYPE]})
        for file in filter(is_result, ui.get("images", ())):
            self.add_file(node, self.out / file["subfolder"] / file["filename"])
        for text in ui.get("text", ()):
            self.add_text(node, str(text))

    def files(self) -> list[Path]:
        """Everything that was written, videos first."""
        written = [self.out / entry["path"] for entry in (*self.videos, *self.images)]
        return written + [path for path in self.kept if path.is_file()]

    def report(self, kind: str, **facts: Any) -> dict[str, Any]:
        """The report as plain data; `facts` are added at the top level and may bring their own `switches` and `seconds`."""
        return {
            "schema": SCHEMA,
            "kind": kind,
            **facts,
            "seconds": facts.get("seconds", round(time.perf_counter() - self._began, 3)),
            "videos": self.videos,
            "images": self.images,
            "texts": self.texts,
            "switches": facts.get("switches", self._switches()),
            "traces": self.traces,
            "nodes": self.nodes,
        }

    def _switches(self) -> list[dict[str, Any]]:
        """The prompt changes where it is clear which trace made the video; evaluators add metrics."""
        if len(self.videos) != 1 or len(self.traces) != 1:
            return []
        return switches(self.traces[0]["trace"], self.videos[0]["fps"])


def is_result(file: Mapping[str, str]) -> bool:
    """Whether a file that a node shows belongs to what the run made; a video that only shows its progress does not."""
    return file.get("type") != "temp" or Path(file["filename"]).suffix.lower() not in VIDEO_EXTENSIONS


def switches(trace: Mapping[str, Any], fps: float) -> list[dict[str, Any]]:
    """The prompt changes between the sections of a sampler's trace, in the order of the video."""
    return [switch_entry(switch, fps) for switch in switches_from_trace(trace, fps=fps)]


def in_video_order(trace: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sections of a trace by their first frame; the original layout makes the last one first."""
    return sorted(trace.get("sections", ()), key=lambda section: section["frames"][0])


def write_report(path: Path, report: Mapping[str, Any]) -> Path:
    """Writes a report to `path`, in place of an earlier one, and returns the path. Raises WorkflowError where that is impossible."""
    text = json.dumps(_plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    unfinished = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise WorkflowError(f"The report {path} cannot be written: {error.strerror or error}.") from error
    return path


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: numbers that are not finite become null, objects their text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def traces_of(record: Record) -> list[Mapping[str, Any]]:
    """The samplers' traces of a run: as it was made in this process, or as texts that nodes of a server have shown."""
    return [entry["trace"] for entry in record.traces] or list(_shown_traces(record))


def _shown_traces(record: Record) -> Iterator[Mapping[str, Any]]:
    for entry in record.texts:
        try:
            shown = json.loads(entry["text"])
        except ValueError:
            continue
        if isinstance(shown, Mapping) and shown.get("schema") == TRACE_SCHEMA:
            yield shown
