"""The demonstration: one prompt switch, sampled plain and with techniques, side by side and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...benchmarks.transition.episodes import Episode
from ...benchmarks.transition.measures import HALF_SECOND, holds, is_valid, measure_episode
from ...tiny.bundle import WEIGHTS
from ...tiny.detector import detect
from ...tiny.world import Scene, Subject
from ..files.folders import Folders
from ..files.media import read_video, write_video
from ..running.progress import ProgressBars
from ..running.report import Record, in_video_order, switches
from ..running.runs import EXAMPLES, PACK, Job, LocalRunner, input_folder_for, run_job
from ..workflows.workflow import Setting
from .comparison import Panel, save_curves, side_by_side
from .contact_sheet import Row, save_sheet

WORKFLOW = PACK / EXAMPLES / "api" / "tiny_transition.json"
SAMPLERS = {"Plain": "plain", "Treated": "adaptive CFG and KV gate"}
SHEET, COMPARISON, PLOT = "contact_sheet.png", "comparison.mp4", "scores.png"

# What the workflow's two prompts say.
BEFORE = Scene("sky", False, Subject("circle", "red", "large"), "still")
AFTER = Scene("city", True, None, BEFORE.motion)


@dataclass(frozen=True, kw_only=True)
class DemoVideo:
    """One of the two videos.

    label: what its sampler does.
    path: the file, from the report's folder.
    frames: [T,H,W,3] in 0..1, at `fps` frames a second.
    trace: what its sampler recorded.
    """

    label: str
    path: str
    frames: torch.Tensor
    fps: float
    trace: Mapping[str, Any]

    @property
    def switch(self) -> int:
        """The first frame under the new prompt."""
        return int(switches(self.trace, self.fps)[0]["frame"])

    @property
    def borders(self) -> list[int]:
        """The first frame of every section but the first."""
        return [section["frames"][0] for section in in_video_order(self.trace)][1:]


def run_demo(out: Path, seed: int | None, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Runs the embedded workflow and shows what it made; raises WorkflowError or Interrupted."""
    settings = [] if seed is None else [Setting(sampler, "seed", str(seed)) for sampler in SAMPLERS]
    facts = run_job(
        LocalRunner(), Job(WORKFLOW, Folders(input_folder_for(WORKFLOW), out), settings), record, bars
    )
    clips = _clips(record)
    save_sheet(out / SHEET, [Row(clip.label, clip.frames, clip.borders, clip.switch) for clip in clips])
    prompts = [section["prompt"] for section in in_video_order(clips[0].trace)]
    panels = [Panel(clip.label, clip.frames) for clip in clips]
    comparison = side_by_side(panels, clips[0].switch, prompts[0], prompts[-1])
    write_video(out / COMPARISON, comparison, clips[0].fps)
    scores = [_scores(clip) for clip in clips]
    save_curves(out / PLOT, {clip.label: _seen(clip) for clip in clips}, clips[0].switch, clips[0].fps)
    return {
        **facts,
        "comparison": COMPARISON,
        "contact_sheet": SHEET,
        "plot": PLOT,
        "switches": [switches(clip.trace, clip.fps) for clip in clips],
        "scores": scores,
        "remarks": [*_sentences(clips[0], scores), *_warnings()],
    }


def _clips(record: Record) -> list[DemoVideo]:
    """The two videos with their traces, which the workflow makes in the same order."""
    titles = {node["node"]: node["title"] for node in record.nodes}
    clips = []
    for video, entry in zip(record.videos, record.traces, strict=True):
        frames, fps = read_video(record.out / video["path"])
        label = SAMPLERS[titles[entry["node"]]]
        clips.append(DemoVideo(label=label, path=video["path"], frames=frames, fps=fps, trace=entry["trace"]))
    return clips


def _scores(clip: DemoVideo) -> dict[str, Any]:
    """What the analytic detector says of a video; see docs/BENCHMARKS.md for the measures."""
    first, last = next(s["frames"] for s in clip.trace["sections"] if s["frames"][0] == clip.switch)
    episode = Episode(
        case="cut",
        seed=0,
        noise_seed=0,
        image=clip.frames[0].numpy(),
        image_after=clip.frames[-1].numpy(),
        before=BEFORE,
        after=AFTER,
        prompts=("", ""),
    )
    past = detect(clip.frames[max(first - 2 * HALF_SECOND, 0) : first].numpy())
    measures = measure_episode(episode, past, clip.frames[first:].numpy(), last - first)
    evaluations = sum(section["evaluations"] for section in clip.trace["sections"])
    return {
        "video": clip.path,
        "technique": clip.label,
        "valid": is_valid(past, episode),
        **asdict(measures),
        "evaluations": evaluations,
    }


def _seen(clip: DemoVideo) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """In which frames the old scene is seen, and in which the new one."""
    detection = detect(clip.frames.numpy())
    return holds(detection, BEFORE), holds(detection, AFTER)


def _sentences(clip: DemoVideo, scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """The scores in words."""
    sentences = [f"The prompt switches at frame {clip.switch} ({clip.switch / clip.fps:.1f} s)."]
    for score in scores:
        when = (
            "never in the first new section"
            if score["latency"] is None
            else f"after {score['latency']} frames"
        )
        jump = "" if score["jump"] is None else f", the subject jumps {score['jump']:.1f} px"
        sentences.append(
            f"{score['technique']}: new scene there {when}, {score['remaining']:.0%} of the old one remains"
            f"{jump}, {score['evaluations']} model calls."
        )
    if not all(score["valid"] for score in scores):
        sentences.append(
            "The scene was not right before the switch, so these scores mean little; try another --seed."
        )
    return sentences


def _warnings() -> list[str]:
    """What must be known to read the scores."""
    if not (WEIGHTS / "dit.safetensors").is_file():
        return [
            "The embedded model's weights are random: the videos show noise, and the scores mean nothing."
        ]
    return ["One seed proves nothing: `bench transition` measures many."]
