"""The command `export`: videos and their prompts as other benchmarks read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...files.media import VideoInfo, probe_timed_video
from ...workflows.errors import WorkflowError, as_sentences
from ..scripts import SUFFIX
from ..timelines import Timeline, names_file, read_timeline
from .narrastream import SEGMENT, export_narrastream
from .stretches import PromptedVideo, prompted_video
from .vbench import export_vbench

BENCHMARKS = ("narrastream", "vbench")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the command line asks for; see its help."""

    videos: Sequence[Path]
    to: str
    timeline: str
    out: Path
    window: int = 0
    segment: int = SEGMENT


def run_export(options: ExportOptions) -> str:
    """Writes the benchmark's input below `options.out` and says how to go on; raises WorkflowError in a sentence."""
    try:
        _check(options)
        videos = _prompted(options)
        if options.to == "vbench":
            return export_vbench(videos, options.out)
        return export_narrastream(videos, options.out, options.segment)
    except (ValueError, OSError) as error:
        raise WorkflowError(as_sentences(" ".join(str(error).split()))) from error


def timelines_of(given: str, count: int) -> list[Timeline]:
    """The timeline of each of `count` videos: a file of several scripts has one for each, anything else is for all.

    Raises ValueError for a file with another number of scripts than there are videos.
    """
    path = Path(given)
    if path.suffix.lower() != SUFFIX or not names_file(path, given):
        return [read_timeline(given)] * count
    lines = sum(bool(line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines())
    if lines != count:
        raise ValueError(
            f"{path.name} holds {lines} scripts, but videos: {count}. Name one for all by its number, such as "
            f"{path.name}#1, or give as many videos, in their order"
        )
    return [read_timeline(f"{given}#{number}") for number in range(1, count + 1)]


def _check(options: ExportOptions) -> None:
    """Raises ValueError for options that cannot be."""
    if options.segment < 1:
        raise ValueError(f"segment is {options.segment}: give whole seconds, at least 1")
    if options.window < 0:
        raise ValueError(f"window is {options.window}: give the latent frames of a section, or 0")
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise ValueError(f"--out {options.out} is there already and is not empty: give another folder")


def _prompted(options: ExportOptions) -> list[PromptedVideo]:
    timelines = timelines_of(options.timeline, len(options.videos))
    return [
        prompted_video(path, _probe(path), timeline, options.window)
        for path, timeline in zip(options.videos, timelines)
    ]


def _probe(path: Path) -> VideoInfo:
    if not path.is_file():
        raise ValueError(f"there is no video {path}")
    return probe_timed_video(path)
