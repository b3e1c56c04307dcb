"""The parts of a video between the switches of its prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ....metrics import switches_from_trace, switches_of
from ....video.writing import VideoWriter
from ...files.media import VideoInfo, video_batches
from ..timelines import Timeline

CRF = 8  # x264's quality: nearer to the original than any score can tell


@dataclass(frozen=True)
class Stretch:
    """Frames `first` to `end` (exclusive) of a video, and the prompt that is in force in them."""

    first: int
    end: int
    prompt: str


@dataclass(frozen=True, kw_only=True)
class PromptedVideo:
    """A video file, what it says about itself, and its stretches in order, which cover all of it."""

    path: Path
    info: VideoInfo
    stretches: tuple[Stretch, ...]


def prompted_video(path: Path, info: VideoInfo, timeline: Timeline, window: int) -> PromptedVideo:
    """A video with its prompts; `window` is the number of latent frames of a section, 0 for none.

    Raises ValueError where the timeline says no prompt.
    """
    prompts = _prompts(path, info, timeline, window)
    if not all(prompt.strip() for _, prompt in prompts):
        raise ValueError(f"a prompt of {path.name} is empty: give its prompts with --timeline")
    inside = [(frame, prompt) for frame, prompt in prompts if frame < info.frames]
    ends = [frame for frame, _ in inside[1:]] + [info.frames]
    return PromptedVideo(
        path=path,
        info=info,
        stretches=tuple(Stretch(frame, end, prompt) for (frame, prompt), end in zip(inside, ends)),
    )


def write_frames(video: PromptedVideo, path: Path, first: int, end: int) -> None:
    """Writes frames `first` to `end` (exclusive) of a video to an MP4 file."""
    with VideoWriter(path, video.info.fps, crf=CRF) as writer:
        for batch in _frames(video.path, first, end):
            writer.write(batch)


def _frames(path: Path, first: int, end: int) -> Iterator[torch.Tensor]:
    """Frames [N,H,W,3] in 0..1 of a part of a video, in batches."""
    done = 0
    for batch in video_batches(path):
        part = batch[max(first - done, 0) : max(end - done, 0)]
        if len(part):
            yield torch.from_numpy(part).float() / 255
        done += len(batch)
        if done >= end:
            return


def _prompts(path: Path, info: VideoInfo, timeline: Timeline, window: int) -> list[tuple[int, str]]:
    """The first frame of each prompt, and the prompt."""
    trace = timeline.trace_of(path)
    if trace is not None:
        switches = switches_from_trace(trace, fps=info.fps)
        first = min(trace["sections"], key=lambda section: section["frames"][0])["prompt"]
    else:
        cues = timeline.cues_for(info, window)
        if not cues:
            raise ValueError(f"no prompt is known of {path.name}: give --timeline")
        switches, first = switches_of(cues, fps=info.fps, window=window), cues[0].prompt
    return [(0, first), *((switch.frame, switch.prompt or switch.new) for switch in switches)]
