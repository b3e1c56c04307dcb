"""Whether the metrics agree with the truth: on rendered clips, whose changes are known, and on generated episodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...nodes.evaluation.models import tiny_extractor
from ...samplers.techniques.attention.kv_gate import SemanticKVGate
from ...samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from ...tiny.bundle import load_tiny
from ...tiny.detector import PRESENT_SCORE, detect, matches
from ...tiny.world import Scene
from ..transition.arms import PLAIN, Arm
from ..transition.bench import Bench
from ..transition.episodes import make_episode
from ..transition.running.recording import load_video_frames
from ..transition.running.results import Result, world_digest, write_compressed
from ..transition.running.sampling import BenchSettings
from . import rendered
from .measuring import ClipMeasurements, ClipMeasurer, Scorer, Scores, confidence_of
from .rendered import GHOSTS

VERSION = 2  # of what is seen and how
SEEN, CLIPS = "seen", "clips.jsonl.gz"
SUBJECT_EVENTS, SCENE_EVENTS = ("disappear", "appear", "colour"), ("background", "night", "cut")

CFG = AdaptiveCFG(target="real", shape="interval", base=5.0, t_end=0.54)
GATE = SemanticKVGate(mode="bias", gamma=2.0, t_end=0.54)
ARMS = (
    PLAIN,
    Arm("real CFG 5", (CFG,)),
    Arm("KV gate 2", (GATE,)),
    Arm("CFG 5 and gate 2", (CFG, GATE)),
    Arm("past dropped", (SemanticKVGate(mode="drop", t_end=0.54),)),
)
CASES = ("disappear", "colour", "background", "cut")

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ScoredClip:
    """A clip with its truth and its scores. None stands where a question makes no sense.

    source: "rendered" or "generated".
    kind: how it was rendered, or the arm that generated it.
    event: the change that is asked for.
    seed: the number of the clip.
    succeeds: whether the new scene is there at the end.
    latency: frames until it is there.
    gone: whether the old subject is gone.
    scores: what the metrics say.
    """

    source: str
    kind: str
    event: str
    seed: int
    succeeds: bool | None
    latency: int | None
    gone: bool | None
    scores: Scores

    @property
    def tl(self) -> float | None:
        """TL90: by the detector where only the subject changes, else by whole frames."""
        return self.scores.tl_subject if self.event in SUBJECT_EVENTS else self.scores.tl


def bench(folder: Path, seeds: range) -> Bench:
    """Four kinds of switch under arms of different success, with their frames: for half of the seeds, as they cost most."""
    return Bench(
        folder=folder / "generated",
        seeds=max(len(seeds) // 2, 1),
        first_seed=seeds.start,
        settings=BenchSettings(after=1),
        arms=ARMS,
        cases=CASES,
        keeps_videos=True,
    )


class CachedScorer:
    """Scores clips; their measurements are kept in a folder whose name depends on weights, world and VERSION."""

    def __init__(self, folder: Path, vae: Any, extractor: Any) -> None:
        self.vae, self.measurer, self.scorer = vae, ClipMeasurer(extractor), Scorer(extractor)
        self._latest: tuple[Scene | None, int, Array] = (None, 0, np.empty(0))
        digest = hashlib.sha256(repr((VERSION, world_digest(), extractor.name)).encode())
        for value in vae.codec.state_dict().values():
            digest.update(value.float().numpy().tobytes())
        digest.update(np.asarray(extractor.texts(["a large red circle in the sky by day"])).tobytes())
        self._folder = folder / digest.hexdigest()[:12]

    def rendered(self, seed: int) -> Iterator[ScoredClip]:
        """The clips of a seed, through the codec as generated ones are."""
        for clip in rendered.rendered_clips(seed):
            file = self._folder / f"{seed}_{clip.kind.replace(' ', '_')}.npz"
            if not file.is_file():
                frames, reference = self._decoded(clip.frames), self._reference(clip.after, seed)
                detects = clip.kind not in GHOSTS
                self.measurer.measure(
                    frames,
                    rendered.BEFORE,
                    before=clip.before,
                    after=clip.after,
                    reference=reference,
                    detects=detects,
                ).save(file)
            scores = self.scorer.score(ClipMeasurements.load(file), clip.before, clip.after)
            yield ScoredClip(
                source="rendered",
                kind=clip.kind,
                event=clip.event,
                seed=seed,
                succeeds=clip.succeeds,
                latency=clip.latency,
                gone=clip.is_gone,
                scores=scores,
            )

    def generated(self, result: Result, videos: Path) -> ScoredClip:
        """An episode of TransitionBench, scored by the analytic detector over the frames that the metrics go by."""
        episode = make_episode(result.case, result.seed)
        frames, switch = load_video_frames(videos / f"{result.key}.npz")
        file = self._folder / f"{result.key}.npz"
        if not file.is_file():
            reference = self._reference(episode.after, result.seed)
            self.measurer.measure(
                frames, switch, before=episode.before, after=episode.after, reference=reference
            ).save(file)
        measured = ClipMeasurements.load(file)
        end = detect(frames[slice(*measured.windows.settled)])
        gone = None
        if rendered.loses_subject(episode.before, episode.after):
            gone = bool((confidence_of(end, episode.before) > PRESENT_SCORE).mean() <= 0.5)
        scores = self.scorer.score(measured, episode.before, episode.after)
        succeeds = matches(end, episode.after)
        return ScoredClip(
            source="generated",
            kind=result.arm,
            event=result.case,
            seed=result.seed,
            succeeds=succeeds,
            latency=None,
            gone=gone,
            scores=scores,
        )

    def _reference(self, scene: Scene, seed: int) -> Array:
        """The new scene alone; neighbouring clips share it."""
        if self._latest[:2] != (scene, seed):
            self._latest = scene, seed, self._decoded(rendered.reference_frames(scene, seed))
        return self._latest[2]

    def _decoded(self, frames: Array) -> Array:
        video = torch.from_numpy(frames).float()[None] / 255
        decoded: Array = self.vae.decode(self.vae.encode(video))[0].numpy()
        return decoded


def cached_scorer(folder: Path) -> CachedScorer:
    """A scorer with the embedded CLIP, which keeps its measurements below `folder`."""
    extractor = tiny_extractor()
    return CachedScorer(folder / SEEN, load_tiny().vae, extractor)


def score_all(
    cached_scorer: CachedScorer, seeds: range, results: Sequence[Result], videos: Path
) -> list[ScoredClip]:
    """All rendered clips, and the episodes that were right before the switch."""
    drawn = [clip for seed in seeds for clip in cached_scorer.rendered(seed)]
    valid = sorted((result for result in results if result.valid), key=lambda one: (one.case, one.seed))
    return drawn + [cached_scorer.generated(result, videos) for result in valid]


def save_clips(path: Path, scored: Sequence[ScoredClip]) -> None:
    """Write one line of JSON a clip, compressed; an endless wait becomes "never"."""
    write_compressed(path, (json.dumps(to_json(one)) + "\n" for one in scored))


def to_json(one: ScoredClip) -> dict[str, Any]:
    """Plain data of a clip."""
    facts = asdict(one)
    facts["scores"] = {key: "never" if value == inf else value for key, value in facts["scores"].items()}
    return facts
