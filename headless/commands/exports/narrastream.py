"""NarraStream-Bench's input: `video/sample_0.mp4`, ... and `prompt.jsonl` with the prompts of each, a line a video.

It cuts every video into segments of one length in whole seconds, and judges each by its own prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....samplers.timeline.syntaxes.scripts import format_script
from .stretches import PromptedVideo, write_frames

SEGMENT = 10  # seconds, NarraStream-Bench's own
PROMPTS = "prompt.jsonl"
VIDEOS = "video"
TOLERANCE = 1.0  # seconds: FramePack's prompts change at borders of sections


def export_narrastream(videos: Sequence[PromptedVideo], out: Path, segment: int) -> str:
    """Writes the files below `out` and returns how to go on; `segment` is the length of a segment in seconds.

    Videos are cut off after their last whole segment, or else its rest would be one more. Raises ValueError where a
    prompt changes inside a segment, and for a video of less than half a segment.
    """
    scripts = [segment_prompts(video, segment) for video in videos]
    (out / VIDEOS).mkdir(parents=True, exist_ok=True)
    for number, (video, prompts) in enumerate(zip(videos, scripts)):
        end = min(len(prompts) * _frames(video, segment), video.info.frames)
        write_frames(video, out / VIDEOS / f"sample_{number}.mp4", 0, end)
    lines = "".join(f"{format_script(prompts)}\n" for prompts in scripts)
    (out / PROMPTS).write_text(lines, encoding="utf-8")
    return (
        f"Written to {out}. In NarraStream-Bench: bash scripts/run_narrastream_bench.sh --run-name NAME "
        f"--video-dir {out / VIDEOS} --prompts {out / PROMPTS} --segment-duration {segment}"
    )


def segment_prompts(video: PromptedVideo, segment: int) -> list[str]:
    """The prompt in the middle of each segment of `segment` seconds; raises ValueError as above."""
    length = _frames(video, segment)
    count = round(video.info.frames / length)
    if count == 0:
        raise ValueError(
            f"the video {video.path.name} lasts {video.info.frames / video.info.fps:.2f} s, less than half a segment of "
            f"{segment} s: give a smaller --segment"
        )
    for stretch in video.stretches[1:]:
        _check_border(video, stretch.first, segment)
    return [_prompt_at(video, number * length + length // 2) for number in range(count)]


def _check_border(video: PromptedVideo, frame: int, segment: int) -> None:
    """Raises ValueError for a switch that is not near a border between segments."""
    length = _frames(video, segment)
    distance = abs(frame - round(frame / length) * length) / video.info.fps
    if distance > min(TOLERANCE, segment / 4):
        raise ValueError(
            f"the prompt of {video.path.name} changes at {frame / video.info.fps:.2f} s, which is no border of segments of "
            f"{segment} s: give --segment the seconds from one prompt to the next; they must all be the same"
        )


def _prompt_at(video: PromptedVideo, frame: int) -> str:
    known = [stretch.prompt for stretch in video.stretches if stretch.first <= frame]
    return known[-1]


def _frames(video: PromptedVideo, segment: int) -> int:
    """Frames of a segment, as NarraStream-Bench counts them."""
    return int(video.info.fps * segment)
