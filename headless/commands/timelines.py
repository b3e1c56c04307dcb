"""What --timeline says: the prompts of a video over time, as a text or in one of several kinds of file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...metrics import Cue, switches_from_trace
from ...nodes.files.reading import DAMAGED, said, shortened
from ...samplers.context.plan import FPS
from ...samplers.timeline.syntaxes.scripts import looks_like_script
from ...samplers.timeline.syntaxes.table import SYNTAXES, detect_syntax, parse
from ..files.media import VideoInfo
from .scripts import SUFFIX, script_file, script_of, text_of

USUAL_WINDOW = 9  # latent frames of FramePack's sections
TEXT_FILES = (".json", SUFFIX, ".txt")


class NoTimelineError(ValueError):
    """Raised for a file that can be read and is no timeline; its message says by itself which and why."""


@dataclass(frozen=True)
class Timeline:
    """The prompts of videos over time, in one of three forms; all empty: none were named.

    text: prompts in one of the syntaxes of FramePack Prompt Timeline.
    cues: prompts with their start in seconds.
    traces: the sampler's trace of each video by its file name, or of any video under "".
    """

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
        return tuple(Cue(start=span.start, prompt=span.text, state=span.state) for span in spans)

    def texts_for(self, info: VideoInfo, window: int) -> list[str]:
        """The texts that the frames are compared with: the state where the timeline says it, else the prompt."""
        return [cue.text for cue in self.cues_for(info, window)]

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


def read_timeline(text_or_file: str) -> Timeline:
    """Prompts over time from a text, or from a file: a text, a script, a trace, a report with traces, or a list of prompts.

    Of a file with several scripts one is named by its number, such as `scripts.jsonl#3`.

    Raises ValueError or PromptSyntaxError in a sentence, and FileNotFoundError.
    """
    if not text_or_file.strip():
        raise ValueError("the timeline is empty: write at least one prompt, or leave --timeline out")
    name, number = script_file(text_or_file)
    path = Path(name)
    if not names_file(path, name):
        return Timeline(text=text_or_file)
    text = text_of(path, "timeline")
    if path.suffix.lower() == SUFFIX:
        return Timeline(text=script_of(text, number, path.name))
    if path.suffix.lower() != ".json" or looks_like_script(text):
        return Timeline(text=text)
    return _timeline_in(text, path.name)


def _timeline_in(text: str, name: str) -> Timeline:
    """The timeline in a JSON file's text; raises ValueError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the timeline {name} is no JSON: {said(error)}") from error
    try:
        timeline = _timeline_of(data, name)
        for trace in (timeline.traces or {}).values():
            switches_from_trace(trace, fps=FPS)  # reads all of it that a video needs
    except NoTimelineError:
        raise
    except DAMAGED as error:
        raise ValueError(f"the timeline {name} cannot be read: {said(error)}") from error
    return timeline


def names_file(path: Path, text_or_file: str) -> bool:
    """Whether a file is meant; raises ValueError for a folder, FileNotFoundError for a file that is not there."""
    try:
        exists, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):  # a prompt may be too long for a name, or hold what no name may
        return False
    if is_folder:
        raise ValueError(f"the timeline {text_or_file} is a folder: name a file in it, or write the prompts")
    if not exists and "\n" not in text_or_file and path.suffix.lower() in TEXT_FILES:
        raise FileNotFoundError(f"the timeline {text_or_file} does not exist")
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
    raise NoTimelineError(
        f"{name} holds no timeline: give a trace, the report.json of a run with a sampler, or a list of "
        '{"start": seconds, "prompt": text}'
    )


def _cue(entry: Any, name: str) -> Cue:
    try:
        interval = entry.get("interval")
        return Cue(
            start=float(entry["start"]),
            prompt=str(entry["prompt"]),
            state=str(entry.get("state", "")),
            change=float(entry.get("change", 1.0)),
            interval=None if interval is None else (float(interval[0]), float(interval[1])),
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise NoTimelineError(
            f"{name}: {shortened(json.dumps(entry, ensure_ascii=False))} is no entry of a timeline, which needs a start in "
            "seconds and a prompt"
        ) from error
