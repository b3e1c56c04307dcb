"""What the evaluation nodes have in common: prompts from a trace or a timeline, and the scores of a video."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from ...metrics import Cue, VideoScores, evaluate_video
from ...samplers.progress import report
from ...samplers.timeline.timeline import Timeline
from ..comfyui import inside_comfyui
from .models import EvaluationModels

logger = logging.getLogger(__name__)

Trace = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class VideoEvaluation:
    """How videos of one timeline are scored.

    models: the extractor and the detector.
    fps: frames per second of the videos.
    window: latent frames of a section; it places the switches of a video without a trace.
    first_prompt: the text before the first entry of the timeline, for a prompt that came as conditioning.
    timeline: the prompts and their times, None where only traces tell them.
    """

    models: EvaluationModels
    fps: float
    window: int
    first_prompt: str = ""
    timeline: Timeline | None = None

    def scores(self, images: Tensor, trace: Trace | None = None, **options: Any) -> VideoScores:
        """The scores of frames [T,H,W,C] of a video; `options` are further arguments of metrics.evaluate_video.

        trace: FramePack Sampler's trace of the video. Raises ValueError where the text of the first prompt is
        needed and not known.
        """
        first = self.first_prompt.strip()
        cues, trace = cues_of(self.timeline, first), _with_first_prompt(trace, first)
        self._check_texts(cues, trace)
        _check_images(images, trace)
        return evaluate_video(
            without_alpha(images),
            cues,
            fps=self.fps,
            window=self.window,
            trace=trace,
            progress=frame_progress(len(images)),
            **self.models.options(),
            **options,
        )

    def _check_texts(self, cues: tuple[Cue, ...], trace: Trace | None) -> None:
        texts = [section["prompt"] for section in trace["sections"]] if trace else [cue.text for cue in cues]
        self.models.warn_of_unknown_words(texts)
        if len(set(texts)) > 1 and not all(texts) and self.models.reads_text:
            raise ValueError(
                "the text of the first prompt is not known, as it came as conditioning: write it into first_prompt."
            )


def cues_of(timeline: Timeline | None, first_prompt: str = "") -> tuple[Cue, ...]:
    """The entries of a timeline as cues; `first_prompt` holds until the first entry where that starts later."""
    entries = () if timeline is None else timeline.entries
    cues = [
        Cue(start=entry.start, prompt=entry.prompt, state=entry.state, change=entry.change)
        for entry in entries
    ]
    if cues and cues[0].start > 0:
        cues.insert(0, Cue(start=0.0, prompt=first_prompt))
    return tuple(cues)


def frame_progress(total: int) -> Callable[[int], None]:
    """A function that takes the number of frames done, of `total`, and shows it: in ComfyUI or in the console."""
    if inside_comfyui():
        import comfy.utils

        return cast("Callable[[int], None]", comfy.utils.ProgressBar(total).update_absolute)
    return lambda done: report(done, total)


def without_alpha(images: Tensor | None) -> Tensor | None:
    """The first three channels of images [T,H,W,C]; None stays None."""
    return None if images is None else images[..., :3]


def _with_first_prompt(trace: Trace | None, prompt: str) -> Trace | None:
    """The trace with `prompt` in the sections that have none."""
    if trace is None:
        return None
    sections = [
        section if section["prompt"].strip() else {**section, "prompt": prompt}
        for section in trace.get("sections", ())
    ]
    return {**trace, "sections": sections}


def _check_images(images: Tensor, trace: Trace | None) -> None:
    """Raise ValueError for images of a wrong shape; warn where the trace is of a video of another length."""
    if images.ndim != 4 or images.shape[-1] < 3 or not len(images):
        raise ValueError(f"images are {list(images.shape)}, expected [frames, height, width, 3].")
    if trace is None or not trace["sections"]:
        return
    frames = max(section["frames"][1] for section in trace["sections"])
    if frames != len(images):
        logger.warning(
            "The trace tells of %d frames, but there are %d images: are they of the same sampler, and all of them?",
            frames,
            len(images),
        )
