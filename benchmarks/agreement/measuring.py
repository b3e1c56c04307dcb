"""Features and detections of a clip of the embedded world, and the metrics' scores of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...metrics import (
    Metric,
    Switch,
    Windows,
    disappearance_fidelity,
    ghosting,
    stf,
    transition_latency,
    windows_of,
)
from ...metrics.evaluate import neutral
from ...metrics.features import PixelExtractor
from ...metrics.measuring.detectors import ZeroShotDetector
from ...nodes.evaluation.world_detector import WorldDetector
from ...tiny.detector import Detection, detect
from ...tiny.world import FPS, Scene, prompt_of
from .rendered import loses_subject, neighbours

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipMeasurements:
    """What extractors and the detector give for a clip of T frames that is asked to change.

    features: the extractor's features of the clip, [T,D].
    colours: the pixel extractor's features of the clip, [T,P].
    reference: the extractor's features of frames that show nothing but the new scene, [n,D].
    old_subject: the detector's confidence for shape and colour of the old scene's subject, [T]; 0 where it was not run.
    old_presence: how much of that subject is seen, [T], as DF by the detector `tiny` takes it; 0 where it was not run.
    new_subject: the same for the new scene's subject, [T].
    switch: the first frame after the switch.
    """

    features: Array
    colours: Array
    reference: Array
    old_subject: Array
    old_presence: Array
    new_subject: Array
    switch: int

    def save(self, path: Path) -> None:
        """Keep it as a .npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> ClipMeasurements:
        """What `save` has kept."""
        with np.load(path) as kept:
            return cls(
                **{field.name: kept[field.name] for field in fields(cls)} | {"switch": int(kept["switch"])}
            )

    @property
    def windows(self) -> Windows:
        """The windows around the switch."""
        return windows_of(
            Switch(frame=self.switch, requested=0.0, old="old", new="new"), [], len(self.features), FPS
        )


class ClipMeasurer:
    """Measures clips with an extractor, by their pixels and with the analytic detector."""

    def __init__(self, extractor: Any) -> None:
        self.extractor, self.pixels = extractor, PixelExtractor()

    def measure(
        self,
        frames: Array,
        switch: int,
        *,
        before: Scene,
        after: Scene,
        reference: Array,
        detects: bool = True,
    ) -> ClipMeasurements:
        """Measure frames [T,64,64,3], uint8 or in 0..1, and `reference` frames; `detects` runs the detector, which is slow."""
        old = new = presence = np.zeros(len(frames))
        if detects and before.subject != after.subject:
            found, presence = detect(frames), presence_of(frames, before)
            old, new = (confidence_of(found, scene) for scene in (before, after))
        features, known = (self.extractor.images(part) for part in (frames, reference))
        return ClipMeasurements(
            features=features,
            colours=self.pixels.images(frames),
            reference=known,
            old_subject=old,
            old_presence=presence,
            new_subject=new,
            switch=switch,
        )


def confidence_of(found: Detection, scene: Scene) -> Array:
    """The detector's confidence [T] for a scene's subject, by shape and colour; 0 without one."""
    if scene.subject is None:
        return np.zeros(len(found))
    matching = (found.shape == scene.subject.shape) & (found.colour == scene.subject.colour)
    return np.where(matching, found.score, 0.0)


def presence_of(frames: Array, scene: Scene) -> Array:
    """How much of a scene's subject is seen in frames [T,64,64,3], by shape and colour; 0 without one."""
    if scene.subject is None:
        return np.zeros(len(frames))
    concept = f"{scene.subject.colour} {scene.subject.shape}"
    return np.asarray(WorldDetector().detect(frames, [concept]).confidence[:, 0], np.float64)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The metrics of a clip; None where a metric is not valid, infinity for a latency that does not end.

    stf: STF by texts alone.
    stf_reference: STF with the reference.
    tl: TL90 in frames by features of whole frames, the new scene taken from the end of the clip.
    tl_reference: the same with the new scene taken from the reference.
    tl_pixels: the same by pixels.
    tl_subject: TL90 by the detector's confidence for the subject that comes or goes.
    gas: GAS with the reference.
    df: DF by the analytic detector, as `evaluate` and the evaluator nodes take it.
    df_text: DF by texts.
    """

    stf: float | None
    stf_reference: float | None
    tl: float | None
    tl_reference: float | None
    tl_pixels: float | None
    tl_subject: float | None
    gas: float | None
    df: float | None
    df_text: float | None


class Scorer:
    """Scores clips by one extractor; every text is read once."""

    def __init__(self, extractor: Any) -> None:
        self.extractor = extractor
        self.centre = neutral(extractor)
        self._texts: dict[str, Array] = {}

    def score(self, measured: ClipMeasurements, before: Scene, after: Scene) -> Scores:
        """Score a clip that is asked to change from one scene to another."""
        windows = measured.windows
        blind, guided = (
            self._fidelity(measured, before, after, known) for known in (None, measured.reference)
        )
        loses = loses_subject(before, after)
        return Scores(
            stf=value(blind),
            stf_reference=value(guided),
            tl=latency(transition_latency(measured.features, windows, fps=FPS, fidelity=guided.value)),
            tl_reference=latency(
                transition_latency(measured.features, windows, fps=FPS, target=measured.reference)
            ),
            tl_pixels=latency(transition_latency(measured.colours, windows, fps=FPS, fidelity=guided.value)),
            tl_subject=_subject_latency(measured, before, after, guided.value),
            gas=value(ghosting(measured.features, windows, reference=measured.reference, centre=self.centre)),
            df=value(_gone(measured.old_presence, windows, floor=WorldDetector.floor)) if loses else None,
            df_text=value(self._gone_by_text(measured, before, after)) if loses else None,
        )

    def _fidelity(
        self, measured: ClipMeasurements, before: Scene, after: Scene, reference: Array | None
    ) -> Metric:
        new, old, *others = self._read(prompt_of(scene) for scene in states_of(before, after))
        return stf(
            measured.features,
            new,
            old,
            measured.windows,
            logit_scale=self.extractor.logit_scale,
            distractors=np.stack(others),
            reference=reference,
        )

    def _gone_by_text(self, measured: ClipMeasurements, before: Scene, after: Scene) -> Metric:
        """By texts that say the old subject in the old place or in the new one; the reference is free of it."""
        there = [before, replace(before, background=after.background, night=after.night)]
        absent = [scene for scene in states_of(before, after) if not _same_subject(scene, before)]
        reader = _StoredFeatures(self.extractor.name, self.extractor.logit_scale, self._read)
        detector = ZeroShotDetector(reader, [prompt_of(scene) for scene in absent])
        seen, free = (
            detector.detect(features, [prompt_of(scene) for scene in there]).confidence.max(1)
            for features in (measured.features, measured.reference)
        )
        return _gone(seen, measured.windows, object_free=free)

    def _read(self, texts: Iterable[str]) -> Array:
        texts = list(texts)
        unread = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if unread:
            self._texts.update(zip(unread, self.extractor.texts(unread)))
        return np.stack([self._texts[text] for text in texts])


@dataclass(frozen=True)
class _StoredFeatures:
    """An extractor whose frames are features already."""

    name: str
    logit_scale: float
    read: Callable[[Iterable[str]], Array]
    resolution: int | None = None

    def images(self, frames: Array) -> Array:
        return frames

    def texts(self, texts: Iterable[str]) -> Array:
        return self.read(texts)


def states_of(before: Scene, after: Scene) -> list[Scene]:
    """The new scene, the old one, and whatever differs from either in one respect: what a frame may show instead."""
    made = {_visible(scene): scene for scene in (after, before)}
    for scene in (*neighbours(after), *neighbours(before)):
        made.setdefault(_visible(scene), scene)
    return list(made.values())


def value(metric: Metric) -> float | None:
    """The value of a metric, None where it is not valid."""
    return metric.value if metric.valid else None


def latency(metric: Metric) -> float | None:
    """Frames, infinity for a wait that does not end, None where the metric is not valid."""
    return None if not metric.valid else inf if metric.censored else metric.value


def _subject_latency(
    measured: ClipMeasurements, before: Scene, after: Scene, fidelity: float
) -> float | None:
    """By the confidence for the old subject where one goes, else for the new one; None where neither changes."""
    windows = measured.windows
    if before.subject == after.subject:
        return None
    if after.subject is None:
        return latency(transition_latency(measured.old_subject[:, None], windows, fps=FPS, target=[[0.0]]))
    return latency(transition_latency(measured.new_subject[:, None], windows, fps=FPS, fidelity=fidelity))


def _gone(confidence: Array, windows: Windows, **options: Any) -> Metric:
    return disappearance_fidelity(confidence, windows, fps=FPS, **options)


def _same_subject(scene: Scene, other: Scene) -> bool:
    return _visible(scene)[2] == _visible(other)[2]


def _visible(scene: Scene) -> tuple[str, bool, tuple[str, str] | None]:
    """What a still shows of a scene: neither motion nor, at a glance, size."""
    subject = scene.subject
    return scene.background, scene.night, None if subject is None else (subject.shape, subject.colour)
