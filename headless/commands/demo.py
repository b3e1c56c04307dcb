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
from ...benchmarks.transition.judge import TWO_SUBJECTS as JUDGE
from ...benchmarks.transition.measures import HALF_SECOND
from ...tiny.bundle import WEIGHTS
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
SAMPLERS = {"Plain": "plain", "Treated": "contrastive guidance"}
SHEET, COMPARISON, PLOT = "contact_sheet.png", "comparison.mp4", "scores.png"

# What the workflow's two prompts say.
LEAVES, STAYS = Subject("circle", "red", "large"), Subject("square", "blue", "small")
BEFORE = Scene("sky", False, LEAVES, second=STAYS)
AFTER = BEFORE.with_subject(0, None)


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

    @property
    def prompts(self) -> tuple[str, str]:
        """The prompts before and after the switch."""
        sections = in_video_order(self.trace)
        return sections[0]["prompt"], sections[-1]["prompt"]

    @property
    def row(self) -> Row:
        """The video in the contact sheet, with its prompts."""
        before, after = self.prompts
        written = [(0, before), (self.switch, after)]
        return Row(self.label, self.frames, self.borders, self.switch, prompts=written)


def run_demo(out: Path, seed: int | None, record: Record, bars: ProgressBars) -> dict[str, Any]:
    """Runs the embedded workflow and shows what it made; raises WorkflowError or Interrupted."""
    settings = [] if seed is None else [Setting(sampler, "seed", str(seed)) for sampler in SAMPLERS]
    facts = run_job(
        LocalRunner(), Job(WORKFLOW, Folders(input_folder_for(WORKFLOW), out), settings), record, bars
    )
    clips = _clips(record)
    save_sheet(out / SHEET, [clip.row for clip in clips])
    prompts = clips[0].prompts
    panels = [Panel(clip.label, clip.frames) for clip in clips]
    comparison = side_by_side(panels, clips[0].switch, *prompts)
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
        case="leave",
        seed=0,
        noise_seed=0,
        image=clip.frames[0].numpy(),
        image_after=clip.frames[-1].numpy(),
        before=BEFORE,
        after=AFTER,
        prompts=("", ""),
    )
    past = JUDGE.see(clip.frames[max(first - 2 * HALF_SECOND, 0) : first].numpy())
    measures = JUDGE.measure(episode, past, clip.frames[first:].numpy(), last - first)
    evaluations = sum(section["evaluations"] for section in clip.trace["sections"])
    return {
        "video": clip.path,
        "technique": clip.label,
        "valid": JUDGE.is_valid(past, episode),
        **asdict(measures),
        "evaluations": evaluations,
    }


def _seen(clip: DemoVideo) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """In which frames the old scene is seen, and in which the new one."""
    seen = JUDGE.see(clip.frames.numpy())
    return JUDGE.holds(seen, BEFORE), JUDGE.holds(seen, AFTER)


def _sentences(clip: DemoVideo, scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """The scores in words."""
    sentences = [
        f"The prompt switches at frame {clip.switch} ({clip.switch / clip.fps:.1f} s): the {_named(LEAVES)} is to leave, the {_named(STAYS)} to stay."
    ]
    sentences += [
        f"{score['technique']}: {_told(score)}, {score['evaluations']} model calls." for score in scores
    ]
    if not all(score["valid"] for score in scores):
        sentences.append(
            "The scene was not right before the switch, so these scores mean little; try another --seed."
        )
    return sentences


def _told(score: Mapping[str, Any]) -> str:
    """What became of both subjects in the first section under the new prompt."""
    gone = "is gone" if score["gone"] else f"is still seen in {score['remaining']:.0%} of the frames"
    when = "" if score["latency"] is None else f" after {score['latency']} frames"
    stays = "is as it was" if score["other"] else "is not as it was"
    jump = "" if score["jump"] is None else f" and jumps {score['jump']:.1f} px"
    return f"the {_named(LEAVES)} {gone}{when}, the {_named(STAYS)} {stays}{jump}"


def _named(subject: Subject) -> str:
    return f"{subject.colour} {subject.shape}"


def _warnings() -> list[str]:
    """What must be known to read the scores."""
    if not (WEIGHTS / "dit.safetensors").is_file():
        return [
            "The embedded model's weights are random: the videos show noise, and the scores mean nothing."
        ]
    return ["One seed proves nothing: `bench transition` measures many."]
