"""Whether the metrics agree with the truth: on rendered clips, whose changes are known, and on generated episodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import inf, isnan
from pathlib import Path
from statistics import fmean
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
from .. import statistics
from ..transition.arms import PLAIN, Arm
from ..transition.bench import Bench
from ..transition.episodes import make_episode
from ..transition.running.recording import load_video_frames
from ..transition.running.results import Result, world_digest
from ..transition.running.sampling import BenchSettings
from . import rendered
from .measuring import ClipMeasurements, ClipMeasurer, Scorer, Scores, confidence_of
from .rendered import GHOSTS

VERSION = 1  # of what is seen and how
SEEN, CLIPS = "seen", "clips.jsonl"
AUC_GOAL, RANK_GOAL, LATENCY_GOAL = 0.97, 0.9, 0.9
TOLERANCE = 2  # frames
WAVER = 0.01  # by which a likeness may fall and still count as rising
SUBJECT_EVENTS, SCENE_EVENTS = ("disappear", "appear", "colour"), ("background", "night", "cut")
ABRUPT, FADING = ("at once", "delayed"), ("fading",)

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


@dataclass(frozen=True)
class ScoredClip:
    """A clip with its truth and its scores.

    kind: how it was rendered, or the arm that generated it; event: what is asked for. Truth: whether the new scene is
    there at the end, after how many frames, and whether the old subject is gone; None where the question makes no sense.
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


def bench(folder: Path, seeds: int) -> Bench:
    """Four kinds of switch under arms of different success, with their frames: for half of the seeds, as they cost most."""
    return Bench(
        folder / "generated", max(seeds // 2, 1), BenchSettings(after=1), ARMS, CASES, keeps_videos=True
    )


class CachedScorer:
    """Sights of clips, kept in a folder under a name that weights, world and VERSION are part of."""

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
                    frames, rendered.BEFORE, clip.before, clip.after, reference, detects
                ).save(file)
            scores = self.scorer.score(ClipMeasurements.load(file), clip.before, clip.after)
            yield ScoredClip(
                "rendered", clip.kind, clip.event, seed, clip.succeeds, clip.latency, clip.is_gone, scores
            )

    def generated(self, result: Result, videos: Path) -> ScoredClip:
        """An episode of TransitionBench, scored by the analytic detector over the frames that the metrics go by."""
        episode = make_episode(result.case, result.seed)
        frames, switch = load_video_frames(videos / f"{result.key}.npz")
        file = self._folder / f"{result.key}.npz"
        if not file.is_file():
            reference = self._reference(episode.after, result.seed)
            self.measurer.measure(frames, switch, episode.before, episode.after, reference).save(file)
        measured = ClipMeasurements.load(file)
        end = detect(frames[slice(*measured.windows.settled)])
        gone = None
        if rendered.loses_subject(episode.before, episode.after):
            gone = bool((confidence_of(end, episode.before) > PRESENT_SCORE).mean() <= 0.5)
        scores = self.scorer.score(measured, episode.before, episode.after)
        succeeds = matches(end, episode.after)
        return ScoredClip("generated", result.arm, result.case, result.seed, succeeds, None, gone, scores)

    def _reference(self, scene: Scene, seed: int) -> Array:
        """The new scene alone; neighbouring clips share it."""
        if self._latest[:2] != (scene, seed):
            self._latest = scene, seed, self._decoded(rendered.reference_frames(scene, seed))
        return self._latest[2]

    def _decoded(self, frames: Array) -> Array:
        video = torch.from_numpy(frames).float()[None] / 255
        return self.vae.decode(self.vae.encode(video))[0].numpy()


def cached_scorer(folder: Path) -> CachedScorer:
    """A cached_scorer in `folder` of what the embedded CLIP sees."""
    extractor = tiny_extractor()
    return CachedScorer(folder / SEEN, load_tiny().vae, extractor)


def score_all(
    cached_scorer: CachedScorer, seeds: int, results: Sequence[Result], videos: Path
) -> list[ScoredClip]:
    """All rendered clips, and the episodes that were right before the switch."""
    drawn = [clip for seed in range(seeds) for clip in cached_scorer.rendered(seed)]
    valid = sorted((result for result in results if result.valid), key=lambda one: (one.case, one.seed))
    return drawn + [cached_scorer.generated(result, videos) for result in valid]


def gates(scored: Sequence[ScoredClip]) -> list[dict[str, Any]]:
    """Every question with what was found, what was aimed at, and on how many clips."""
    drawn, made = ([one for one in scored if one.source == source] for source in ("rendered", "generated"))
    ways = (("stf_reference", "with reference"), ("stf", "texts alone"))
    return [
        *(_auc_row("STF against success", by, drawn, "succeeds", key) for key, by in ways),
        *(_auc_row("STF against success", by, made, "succeeds", key) for key, by in ways),
        *(_rank_row(by, made, key) for key, by in ways),
        _latency_row("all changes", drawn, (*ABRUPT, *FADING)),
        _latency_row("abrupt changes", drawn, ABRUPT),
        _latency_row("fading ones", drawn, FADING),
        _auc_row("DF against presence", "detector", drawn, "gone", "df"),
        _auc_row("DF against presence", "texts", drawn, "gone", "df_text"),
        _auc_row("DF against presence", "texts", made, "gone", "df_text"),
        _ghost_row("place, time, cut", drawn, SCENE_EVENTS),
        _ghost_row("subject", drawn, SUBJECT_EVENTS),
    ]


def latencies(scored: Sequence[ScoredClip]) -> list[dict[str, Any]]:
    """Share of TL90 within TOLERANCE of the truth: of every way to measure it, by what changes and how."""
    rows = []
    for key, by in (
        ("tl", "whole frames by CLIP"),
        ("tl_reference", "whole frames by CLIP, with reference"),
        ("tl_pixels", "whole frames by pixels"),
        ("tl_subject", "the subject's detector"),
    ):
        row: dict[str, Any] = {"by": by}
        for what, events in (("subject", SUBJECT_EVENTS), ("scene", SCENE_EVENTS)):
            for how, kinds in (("abrupt", ABRUPT), ("fading", FADING)):
                clips = [one for one in scored if one.event in events and one.kind in kinds]
                row[f"{what}, {how}"] = within([(one.latency, getattr(one.scores, key)) for one in clips])
        rows.append(row)
    return rows


def within(pairs: Sequence[tuple[int | None, float | None]]) -> float | None:
    """Share of measured frames that are no farther than TOLERANCE from the true ones, None without any."""
    known = [(true, found) for true, found in pairs if true is not None and found is not None]
    return fmean(abs(found - true) <= TOLERANCE for true, found in known) if known else None


def by_kind(scored: Sequence[ScoredClip]) -> list[dict[str, Any]]:
    """Of every kind of rendered clip the mean scores, and how far TL90 is right."""
    rows = []
    for kind in rendered.KINDS:
        clips = [one for one in scored if one.source == "rendered" and one.kind == kind]
        rows.append(
            {
                "kind": kind,
                "n": len(clips),
                **{
                    key: _mean([getattr(one.scores, key) for one in clips])
                    for key in ("stf_reference", "stf", "gas", "df", "df_text")
                },
                "tl_within": within([(one.latency, one.tl) for one in clips]),
            }
        )
    return rows


def arm_means(scored: Sequence[ScoredClip], key: str) -> list[dict[str, Any]]:
    """Of every arm the share of successes and the mean of a score, over the same generated episodes."""
    rows = []
    for arm in dict.fromkeys(one.kind for one in scored if one.source == "generated"):
        mine = [one for one in scored if one.source == "generated" and one.kind == arm]
        mine = [one for one in mine if getattr(one.scores, key) is not None]
        if mine:
            score = fmean(getattr(one.scores, key) for one in mine)
            rows.append(
                {"arm": arm, "n": len(mine), "score": score, "success": fmean(one.succeeds for one in mine)}
            )
    return rows


def ghost_curves(scored: Sequence[ScoredClip]) -> list[tuple[str, list[float]]]:
    """Of every seed whose likeness is known at all opacities, the event and GAS from a clean change to none."""
    order = ("at once", *GHOSTS, "never")
    found = {(one.seed, one.kind): one for one in scored if one.source == "rendered" and one.kind in order}
    curves = []
    for seed in sorted({seed for seed, _ in found}):
        curve = [found[seed, kind].scores.gas for kind in order if (seed, kind) in found]
        if len(curve) == len(order) and None not in curve:
            curves.append((found[seed, order[0]].event, curve))
    return curves


def is_rising(curve: Sequence[float]) -> bool:
    """Whether a curve never falls by more than rounding and ends higher than it began."""
    return bool(np.diff(curve).min() >= -WAVER and curve[-1] > curve[0])


def save_clips(path: Path, scored: Sequence[ScoredClip]) -> Path:
    """Write one line of JSON a clip; an endless wait becomes "never"."""
    path.write_text("".join(json.dumps(to_json(one)) + "\n" for one in scored), encoding="utf-8")
    return path


def to_json(one: ScoredClip) -> dict[str, Any]:
    """Plain data of a clip."""
    facts = asdict(one)
    facts["scores"] = {key: "never" if value == inf else value for key, value in facts["scores"].items()}
    return facts


def _auc_row(question: str, by: str, clips: Sequence[ScoredClip], truth: str, key: str) -> dict[str, Any]:
    known = [(getattr(one, truth), getattr(one.scores, key)) for one in clips]
    known = [(true, score) for true, score in known if true is not None and score is not None]
    yes, no = ([score for true, score in known if true is wanted] for wanted in (True, False))
    area = statistics.auc(yes, no) if yes and no else None
    return _row(f"{question}, AUC", by, clips, len(known), area, AUC_GOAL)


def _rank_row(by: str, clips: Sequence[ScoredClip], key: str) -> dict[str, Any]:
    means = arm_means(clips, key)
    ranks = statistics.rank_correlation(*([row[name] for row in means] for name in ("score", "success")))
    return _row("STF against success, ranks of arm means", by, clips, len(means), ranks, RANK_GOAL)


def _latency_row(by: str, clips: Sequence[ScoredClip], kinds: Sequence[str]) -> dict[str, Any]:
    pairs = [(one.latency, one.tl) for one in clips if one.kind in kinds and one.tl is not None]
    return _row(f"TL90 within {TOLERANCE} frames", by, clips, len(pairs), within(pairs), LATENCY_GOAL)


def _ghost_row(by: str, clips: Sequence[ScoredClip], events: Sequence[str]) -> dict[str, Any]:
    rising = [is_rising(curve) for event, curve in ghost_curves(clips) if event in events]
    share = fmean(rising) if rising else None
    return _row("GAS rises with opacity", by, clips, len(rising), share, None)


def _row(
    question: str, by: str, clips: Sequence[ScoredClip], n: int, value: float | None, goal: float | None
) -> dict[str, Any]:
    """One figure; n is what it counts, clips or arms."""
    value = None if value is None or isnan(value) else value
    met = None if goal is None or value is None else value >= goal
    source = clips[0].source if clips else "-"
    return {"question": question, "clips": source, "by": by, "n": n, "value": value, "goal": goal, "met": met}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
