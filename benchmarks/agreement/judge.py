"""Whether the verdict on a switch is true: generated episodes, judged as suites judge them, and seen by the detector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...metrics import Switch, measure_clip, score
from ...metrics.scoring.verdict import decide
from ...nodes.evaluation.models import EvaluationModels
from ...tiny.world import FPS, prompt_of
from ..transition.bench import Bench
from ..transition.episodes import Episode, make_episode
from ..transition.running.recording import VIDEOS, load_video_frames
from ..transition.running.results import Result, write_compressed
from ..transition.running.sampling import BenchSettings
from .study import ARMS

CASES = ("disappear", "appear", "colour", "background", "cut", "sham")
VERDICTS = "verdicts.jsonl.gz"
MOST_ARTEFACTS = 0.5  # of the frames of an episode that is drawn clearly


@dataclass(frozen=True, kw_only=True)
class JudgedEpisode:
    """An episode with the truth and the verdict.

    case, seed, arm: the episode, and what it was sampled with.
    succeeds: whether the analytic detector sees what should be seen in most of the last third of the first new section.
    success: the verdict, None where it says nothing.
    share: the share of the state that should be seen, by which it was decided; None where it is unknown.
    clear: whether no more than half of that section's frames are artefacts, something that the detector does not take for a
        scene of the world.
    """

    case: str
    seed: int
    arm: str
    succeeds: bool
    success: bool | None
    share: float | None
    clear: bool


class RememberedTexts:
    """An extractor that reads each text once."""

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor
        self._known: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def texts(self, texts: Sequence[str]) -> Any:
        """Features of texts [n,D], None without a text tower."""
        unread = [text for text in dict.fromkeys(texts) if text not in self._known]
        read = self._extractor.texts(unread) if unread else []
        if read is None:
            return None
        self._known.update(zip(unread, read, strict=True))
        return np.stack([self._known[text] for text in texts])


def bench(folder: Path, seeds: range) -> Bench:
    """Five kinds of switch and shams under arms of different success, with their frames."""
    return Bench(
        folder=folder / "generated",
        seeds=len(seeds),
        first_seed=seeds.start,
        settings=BenchSettings(after=1),
        arms=ARMS,
        cases=CASES,
        keeps_videos=True,
    )


def judge_all(results: Sequence[Result], folder: Path, models: EvaluationModels) -> list[JudgedEpisode]:
    """The verdicts on all episodes of a bench's folder that were right before the switch."""
    reader: Any = RememberedTexts(models.extractor)
    reading = replace(models, extractor=reader)
    return [judge(result, folder, reading) for result in results if result.valid]


def judge(result: Result, folder: Path, models: EvaluationModels) -> JudgedEpisode:
    """The verdict on an episode by its prompts as they were typed, with distractors that follow from them."""
    episode = make_episode(result.case, result.seed)
    frames, first = load_video_frames(folder / VIDEOS / f"{result.key}.npz")
    old, new = states(episode)
    switch = Switch(frame=first, requested=first / FPS, old=old, new=new)
    clip = measure_clip(frames, models.extractor, fps=FPS, flow="off")
    (scores,) = score(clip, [switch], extractor=models.extractor, distractors=models.distractors_of).switches
    verdict = decide(scores.metrics, scores.guards, stays=not episode.changes)
    return JudgedEpisode(
        case=result.case,
        seed=result.seed,
        arm=result.arm,
        succeeds=result.measures.success,
        success=verdict.success,
        share=float(verdict.share) if np.isfinite(verdict.share) else None,
        clear=result.measures.artefacts <= MOST_ARTEFACTS,
    )


def states(episode: Episode) -> tuple[str, str]:
    """What is seen before and after the switch; of a sham what it shows, and what would be seen if the subject were lost."""
    old, new = episode.prompts
    return old, new if episode.changes else prompt_of(replace(episode.before, subject=None))


def save_verdicts(path: Path, judged: Sequence[JudgedEpisode]) -> None:
    """Write one line of JSON an episode, compressed."""
    write_compressed(path, (json.dumps(asdict(one)) + "\n" for one in judged))
