"""What the long video of a suite's episode has shown, in the columns of the study of long videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....metrics import Clip, Switch, SwitchScores, Windows, identity, measure_clip, score, windows_of
from ....metrics.definitions.disappearance import calibrate
from ....metrics.definitions.identity import LEAST_SEEN
from ....metrics.evaluate import neutral
from ....metrics.measuring.measurements import Measurements
from ....metrics.scoring.verdict import decide, outcome
from ....metrics.switches import effective_frame
from ....nodes.evaluation.models import EvaluationModels
from ...long.measures import SectionMeasures, SwitchMeasures
from ...long.results import LongResult
from ...long.scenarios import BACK, RETURN
from ..results import LATENT, section_end
from .episodes import DISAPPEAR, LongSuiteEpisode
from .seen import OTHER, section_borders, states_seen, stretch_borders

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class LongVideo:
    """A measured video.

    result: its measures, as the study of long videos has them.
    scores: all metrics of every switch at the end of its first section, for the report.
    fps: frames a second.
    """

    result: LongResult
    scores: tuple[SwitchScores, ...]
    fps: float


def measure_long_video(
    episode: LongSuiteEpisode,
    frames: Iterable[Array],
    models: EvaluationModels,
    *,
    fps: float,
    window: int,
    trace: Mapping[str, Any] | None,
    wall_seconds: float,
    **who: Any,
) -> LongVideo:
    """Measure the video of an episode, batches of frames [N,H,W,3]; `who` holds key, seed and arm.

    window: latent frames of a section, which says where sections begin when no trace of the sampler does.
    Raises ValueError when the video is too short or the features do not fit it, or read no text.
    """
    if not models.reads_text:
        raise ValueError(f"{models.extractor.name} features read no text, by which long videos are judged")
    subject = (episode.subject,) if models.detector is not None and episode.subject else ()
    clip = measure_clip(
        frames,
        models.extractor,
        fps=fps,
        detector=models.detector,
        concepts=subject,
        followed=subject,
        flow="off",
    )
    sections = (trace or {}).get("sections", ())
    switched = sorted(s["frames"][0] for s in sections if s.get("since_switch") == 0 and s["frames"][0] > 0)
    asked = [effective_frame(start, fps, window) for start in episode.starts[1:-1]]
    borders = stretch_borders(episode, switched, len(clip.measurements), asked)
    judged = LongVideoJudge(episode, clip, models, borders=borders, window=window, trace=trace)
    switches, scores = judged.switches()
    result = LongResult(
        scenario=episode.scenario,
        switches=tuple(switches),
        sections=tuple(judged.sections()),
        evaluations=sum(section["evaluations"] for section in sections) if sections else None,
        seconds=round(sum(s["seconds"] for s in sections) if sections else wall_seconds, 3),
        episode=episode.id,
        image=episode.image,
        **who,
    )
    return LongVideo(result=result, scores=scores, fps=fps)


class LongVideoJudge:
    """A measured video of an episode beside what its prompts ask for.

    borders: the frame with which each stretch begins, and the number of frames; window and trace as for `measure_long_video`.
    """

    def __init__(
        self,
        episode: LongSuiteEpisode,
        clip: Clip,
        models: EvaluationModels,
        *,
        borders: Sequence[int],
        window: int,
        trace: Mapping[str, Any] | None,
    ) -> None:
        self._episode, self._clip, self._models = episode, clip, models
        self._borders, self._window, self._trace = borders, window, trace
        self._seen = states_seen(episode, self._measured, borders, models.extractor)

    @property
    def _measured(self) -> Measurements:
        return self._clip.measurements

    def switches(self) -> tuple[list[SwitchMeasures], tuple[SwitchScores, ...]]:
        """The measures of every switch, and all metrics at the end of its first section."""
        whole = [self._switch(number) for number in range(1, len(self._episode.stretches))]
        first = [
            replace(switch, until=section_end(switch.frame, self._window, self._trace)) for switch in whole
        ]
        scores, later = self._scored(first), self._scored(whole)
        measures = [self._measures(number, first, *both) for number, both in enumerate(zip(scores, later), 1)]
        return measures, scores

    def sections(self) -> list[SectionMeasures]:
        """The measures of every section."""
        traced = (self._trace or {}).get("sections", ())
        borders = section_borders(traced, len(self._measured), LATENT * self._window)
        parts = [slice(begin, end) for begin, end in pairwise(borders)]
        asked = [self._stretch_at(part.start) for part in parts]
        return [
            SectionMeasures(
                colour=self._colour_error(part, usual),
                sharpness=_mean(self._measured.sharpness[part])
                / max(_mean(self._measured.sharpness[usual]), 1e-9),
                right=self._share_seen(part, self._episode.first_with_its_state(stretch)),
            )
            for part, stretch in zip(parts, asked)
            for usual in [self._usual(stretch, parts, asked)]
        ]

    def _switch(self, number: int) -> Switch:
        """The switch with which a stretch begins."""
        before, stretch = self._episode.stretches[number - 1 : number + 1]
        return Switch(
            frame=self._borders[number],
            requested=self._episode.starts[number],
            old=before.state,
            new=stretch.state,
            prompt=stretch.prompt,
        )

    def _scored(self, switches: Sequence[Switch]) -> tuple[SwitchScores, ...]:
        if not switches:
            return ()
        gone = {
            number: (self._episode.subject,)
            for number, stretch in enumerate(self._episode.stretches[1:])
            if stretch.kind == DISAPPEAR and self._episode.subject in self._measured.detections
        }
        return score(
            self._clip,
            switches,
            extractor=self._models.extractor,
            vanishing=gone,
            trace=self._trace,
            distractors=self._distractors,
        ).switches

    def _distractors(self, switch: Switch) -> tuple[str, ...]:
        """What else may be seen after a switch: the states of all stretches, and the distractors of the one it begins."""
        states = dict.fromkeys(stretch.state for stretch in self._episode.stretches)
        return (*states, *self._episode.distractors(self._borders.index(switch.frame)))

    def _measures(
        self, number: int, switches: Sequence[Switch], scores: SwitchScores, later: SwitchScores
    ) -> SwitchMeasures:
        stretch = self._episode.stretches[number]
        windows = windows_of(scores.switch, switches, len(self._measured), self._measured.fps)
        success = bool(outcome(scores.metrics, scores.guards).success)
        arrival, fidelity = scores.metrics["tl90"], scores.metrics["stf"]
        reached = success and isfinite(arrival.value) and not arrival.censored
        is_first = self._episode.first_with_its_state(number) == 0
        return SwitchMeasures(
            kind=stretch.kind,
            ready=decide(scores.metrics, scores.guards).success is not None,
            success=success,
            lasting=bool(outcome(later.metrics, later.guards).success),
            latency=round(arrival.value) if reached else None,
            remaining=fidelity.details.get("old_settled"),
            artefacts=self._share_seen(slice(*windows.after), OTHER),
            first_scene=None if is_first else self._share_seen(slice(*self._borders[number : number + 2]), 0),
            identity=self._identity(windows) if stretch.kind in (RETURN, BACK) else None,
        )

    def _identity(self, windows: Windows) -> float | None:
        """How much what returns looks like what was there at first; 0 where it is not seen, None without its boxes."""
        subject, measured = self._episode.subject, self._measured
        if subject not in measured.subjects or not np.isfinite(measured.boxes[subject]).any():
            return None
        limit = calibrate(None, measured.detection_floor).confidence
        seen = (measured.detections[subject] > limit)[:, None]
        found = identity(
            np.where(seen, measured.subjects[subject], np.nan),
            replace(windows, before=(0, self._borders[1])),
            centre=neutral(self._models.extractor),
        )
        if found.valid:
            return found.value
        return 0.0 if found.details.get("seen_before", 0) >= LEAST_SEEN > found.details["seen"] else None

    def _stretch_at(self, frame: int) -> int:
        return int(np.searchsorted(self._borders, frame, side="right")) - 1

    def _usual(self, stretch: int, parts: Sequence[slice], asked: Sequence[int]) -> slice:
        """The section by which colour and sharpness of a stretch are told.

        It lies in the first stretch that asks for its state: the first section of the video, or of a later stretch the one behind
        its first section, in which the change happens.
        """
        first = self._episode.first_with_its_state(stretch)
        own = [part for part, of in zip(parts, asked) if of == first]
        return own[0] if first == 0 or len(own) == 1 else own[1]

    def _colour_error(self, part: slice, usual: slice) -> float:
        """How far the mean colour of a section's frames lies from that of the usual section, mean over frames."""
        colour = self._measured.colour
        apart = colour[part] - np.nanmean(colour[usual], axis=0)
        return _mean(np.linalg.norm(apart, axis=1))

    def _share_seen(self, part: slice, which: int) -> float:
        return float((self._seen[part] == which).mean())


def _mean(values: Array) -> float:
    return float(np.nanmean(values))
