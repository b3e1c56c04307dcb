"""Results of a suite's episodes: the metrics of their videos, as TransitionBench's columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...metrics import Switch, SwitchScores, measure_clip, score, windows_of
from ...metrics.scoring.verdict import decide
from ...metrics.switches import Windows, effective_frame
from ...nodes.evaluation.models import EvaluationModels
from .episodes import SuiteEpisode

LATENT = 4  # frames that one latent frame decodes to, over which a jump is spread

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class EpisodeResult:
    """The measures of one video. None stands where a measure does not apply or cannot be told; `why` gives the reason.

    episode, case, image, seed: the episode, its case, its start image, and the seed of its noise.
    arm: "plain" or "treated".
    switch: the first frame under the new prompt.
    valid: whether the old scene was seen before the switch.
    success: the verdict of `metrics.scoring.verdict.decide`: with a change, whether at the end of the first section after the
        switch the new scene is seen rather than anything else; without a change, whether the old scene still is.
    lasting: the same verdict on the last third after the switch.
    share: the share of the scene that should be seen by which it was decided.
    stf, df: the metrics of these names.
    frames: frames until 90 % of the change is done and stays so; all frames of the section where that never happens.
    reached: whether it happens.
    remaining: share of the old state at the end of the first section.
    jump: log2 of the change between frames at the switch, by the usual change before: 0 as usual, 1 twice, 3 eight times.
    evaluations: calls of the model.
    seconds: time of sampling.
    why: what must be known to read the measures.
    scores: all metrics, for the report.
    thumbnails: small frames by number, for the contact sheet.
    fps: frames a second.
    """

    episode: str
    case: str
    image: str
    seed: int
    arm: str
    switch: int
    valid: bool
    success: bool | None
    lasting: bool | None
    share: float | None
    stf: float | None
    df: float | None
    frames: float | None
    reached: bool | None
    remaining: float | None
    jump: float | None
    evaluations: int | None
    seconds: float
    why: str
    scores: SwitchScores = field(repr=False)
    thumbnails: Mapping[int, Array] = field(repr=False)
    fps: float = 30.0

    def to_json(self) -> dict[str, Any]:
        """The measures as plain data."""
        hidden = ("scores", "thumbnails", "fps")
        return {name: value for name, value in vars(self).items() if name not in hidden}


def measure_video(
    episode: SuiteEpisode,
    frames: Iterable[Array],
    models: EvaluationModels,
    *,
    fps: float,
    window: int,
    trace: Mapping[str, Any] | None,
    wall_seconds: float,
    **who: Any,
) -> EpisodeResult:
    """Measure the video of an episode, batches of frames [N,H,W,3]; `who` holds seed and arm.

    window: latent frames of a section, which says where the switch is when no trace of the sampler does.
    Raises ValueError when the video is too short or the features do not fit it.
    """
    concept = episode.concept if models.detector is not None else ""
    clip = measure_clip(
        frames, models.extractor, fps=fps, detector=models.detector, concepts=(concept,) if concept else ()
    )
    measured = clip.measurements
    frame = switch_frame(episode, fps, window, trace)
    switch = Switch(frame=frame, requested=episode.switch, old=episode.old.state, new=episode.other_state)
    judged_by = models if episode.distractors is None else replace(models, distractors=episode.distractors)
    first = replace(switch, until=section_end(frame, window, trace))

    def scored(seen: Switch) -> SwitchScores:
        found = score(
            clip,
            [seen],
            extractor=models.extractor,
            vanishing=(concept,) if concept else None,
            trace=trace,
            distractors=judged_by.distractors_of,
        )
        return found.switches[0]

    scores, whole = scored(first), scored(switch)
    windows = windows_of(first, [first], len(measured), fps)
    sections = (trace or {}).get("sections", ())
    return EpisodeResult(
        episode=episode.id,
        case=episode.case,
        image=episode.image,
        switch=frame,
        **_columns(episode, scores, windows),
        lasting=decide(whole.metrics, whole.guards, stays=not episode.changes).success,
        jump=_jump(measured.change, windows),
        evaluations=sum(section["evaluations"] for section in sections) if sections else None,
        seconds=sum(section["seconds"] for section in sections) if sections else wall_seconds,
        scores=scores,
        thumbnails=measured.thumbnails,
        fps=fps,
        **who,
    )


def switch_frame(episode: SuiteEpisode, fps: float, window: int, trace: Mapping[str, Any] | None) -> int:
    """The first frame under the new prompt, or in a control where it would be."""
    switched = [
        section["frames"][0]
        for section in (trace or {}).get("sections", ())
        if section.get("since_switch") == 0 and section["frames"][0] > 0
    ]
    return min(switched) if switched else effective_frame(episode.switch, fps, window)


def section_end(frame: int, window: int, trace: Mapping[str, Any] | None) -> int | None:
    """The frame behind the section that begins with `frame`; None where neither trace nor window say how long one is.

    There success is read, as in the studies of the embedded model: techniques act in that section, and what follows catches up
    a little by itself.
    """
    ends = [
        section["frames"][1] for section in (trace or {}).get("sections", ()) if section["frames"][0] == frame
    ]
    return ends[0] if ends else frame + LATENT * window if window else None


def _columns(episode: SuiteEpisode, scores: SwitchScores, windows: Windows) -> dict[str, Any]:
    """What the metrics of the switch from the old state to the other one say."""
    fidelity, vanished, arrival = (scores.metrics[name] for name in ("stf", "df", "tl90"))
    verdict = decide(scores.metrics, scores.guards, stays=not episode.changes)
    success, share = verdict.success, verdict.share
    judged = episode.changes and success is not None
    # A video that did not follow has arrived nowhere, whatever its path looks like.
    reached = judged and success and isfinite(arrival.value) and not arrival.censored
    return {
        "valid": success is not None,
        "success": success,
        "share": _finite(share),
        "stf": _finite(fidelity.value) if judged else None,
        "df": _finite(vanished.value) if episode.concept else None,
        "frames": (arrival.value if reached else float(windows.stretch)) if judged else None,
        "reached": bool(reached) if judged else None,
        "remaining": fidelity.details.get("old_settled", 1 - share) if judged else None,
        "why": verdict.reason,
    }


def _jump(change: Array, windows: Windows) -> float | None:
    """log2 of the mean change over the first latent frame after the switch, by that in the settled frames before.

    The logarithm, because where hardly anything moved before, a multiple of it has no bounds.
    """
    switch = windows.after[0]
    first, last = windows.before
    here, usual = change[switch - 1 : switch - 1 + LATENT], change[first : max(last - 1, first)]
    if not (len(here) and len(usual) and np.mean(here) > 0 and np.mean(usual) > 0):
        return None
    return _finite(np.log2(np.mean(here) / np.mean(usual)))


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
