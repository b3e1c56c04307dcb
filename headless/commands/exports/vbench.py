"""VBench's custom input: a folder of videos, and a JSON file that gives each its prompt.

VBench knows one prompt a video, and its axes of consistency take a change that was asked for as a fault: so the parts between
the switches are files of their own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .stretches import PromptedVideo, Stretch, write_frames

PROMPTS = "prompts.json"
VIDEOS = "videos"
# The axes that VBench offers for other videos than those of its own prompts.
AXES = (
    "subject_consistency",
    "background_consistency",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
)
LEAST_FRAMES = 2


def export_vbench(videos: Sequence[PromptedVideo], out: Path) -> str:
    """Writes a file for each stretch of each video below `out`, and the prompts, and returns how to go on.

    A stretch of a single frame is left out: all axes of motion and consistency need two.
    """
    (out / VIDEOS).mkdir(parents=True, exist_ok=True)
    parts = _parts(videos)
    for name, (video, stretch) in parts.items():
        write_frames(video, out / VIDEOS / name, stretch.first, stretch.end)
    prompts = {name: stretch.prompt for name, (_, stretch) in parts.items()}
    (out / PROMPTS).write_text(json.dumps(prompts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return (
        f"Written to {out}. In VBench: python evaluate.py --mode custom_input "
        f"--videos_path {out / VIDEOS} --prompt_file {out / PROMPTS} --dimension {' '.join(AXES)}"
    )


def _parts(videos: Sequence[PromptedVideo]) -> dict[str, tuple[PromptedVideo, Stretch]]:
    """The stretches that are long enough, by the name of the file of each."""
    return {
        f"{name}_part{number}.mp4": (video, stretch)
        for video, name in zip(videos, _names(videos))
        for number, stretch in enumerate(video.stretches)
        if stretch.end - stretch.first >= LEAST_FRAMES
    }


def _names(videos: Sequence[PromptedVideo]) -> list[str]:
    """The names of files without their suffix, with a number before those that would be the same."""
    stems = [video.path.stem for video in videos]
    counts = Counter(stems)
    return [f"{number}_{stem}" if counts[stem] > 1 else stem for number, stem in enumerate(stems)]
