"""All metrics of a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, mean
from .measuring.clip import Box, Clip, batches_of, detected_box, measure_clip, region_of
from .measuring.measurements import Measurements
from .results import SwitchScores, VideoScores
from .scoring.evidence import Evidence, score_switch
from .scoring.guards import guards, whole
from .survival import aggregate_latencies
from .switches import Cue, Switch, switches_from_trace, switches_of, windows_of

DETECTED = "detected"
NEUTRAL = (0.0, 0.5, 1.0)  # brightness of the pictures without content around which features are centred
NEUTRAL_SIDE = 64  # px


def score(
    measurements: Measurements | Clip,
    switches: Sequence[Switch],
    *,
    extractor: Any,
    reference: Any = None,
    target: Any = None,
    control: Measurements | Clip | None = None,
    vanishing: Sequence[str] | Mapping[int, Sequence[str]] | None = None,
    kept: Sequence[str] = (),
    kept_region: Literal["outside", "inside"] = "outside",
    object_free: Mapping[str, ArrayLike] | None = None,
    threshold: float | None = None,
    trace: Mapping[str, Any] | None = None,
    distractors: Sequence[str] = (),
    name: str = "video",
) -> VideoScores:
    """Score the switches of a measured video; without any there are guards and curves only.

    extractor: the one that measured; it supplies texts and logit scale. reference (R: the new prompt without
    the old history) and target (pictures of nothing but the new scene): one for all switches, or a list with
    one or None for each. control: the same video without the switch. vanishing: concepts of the detections
    that must go, the first of them is DF (by number of the switch where they differ; None: all that are not
    `kept`). kept_region: what of a region should not change; ghosts are looked for in the other part.
    object_free: confidences on frames without the object, by concept; threshold: instead of theirs.
    distractors: texts of states that are neither old nor new. A metric whose guard fails is not valid and
    says so. Raises ValueError when clips were measured by different extractors.
    """
    clip, control = _clip(measurements), _clip(control)
    references, targets = (_for_each(clips, len(switches)) for clips in (reference, target))
    _check_extractors(extractor, [clip, control, *references, *targets])
    common = {
        "clip": clip,
        "extractor": extractor,
        "texts": _texts(extractor, switches, distractors),
        "centre": neutral(extractor),
        "control": control,
        "kept": tuple(kept),
        "kept_region": kept_region,
        "object_free": object_free or {},
        "threshold": threshold,
        "distractors": tuple(distractors),
        "trace": trace,
    }
    evidence = [
        Evidence(reference=known, target=seen, vanishing=_vanishing(clip, vanishing, kept, number), **common)
        for number, (known, seen) in enumerate(zip(references, targets))
    ]
    return _video_scores(name, clip.measurements, switches, evidence)


def evaluate_video(
    frames: Any,
    cues: Sequence[Cue] = (),
    *,
    fps: float = 30.0,
    window: int = 0,
    extractor: Any = None,
    detector: Any = None,
    reference: Any = None,
    target: Any = None,
    control: Any = None,
    box: Box | Literal["detected"] | None = None,
    timestamps: ArrayLike | None = None,
    trace: Mapping[str, Any] | None = None,
    vanishing: Sequence[str] | Mapping[int, Sequence[str]] = (),
    kept: Sequence[str] = (),
    object_free: Any = None,
    flow: Any = "auto",
    perceptual: Any = None,
    progress: Any = None,
    **options: Any,
) -> VideoScores:
    """Measure and score a video, frames [T,H,W,3] in 0..1 or an iterable of batches of them.

    cues: what is asked for when; a trace of the sampler says from which frame on, else `window` (latent
    frames of a section, 0 = none) does. reference, target and control: frames or measurements, see `score`;
    `box` is applied to all of them that are frames, and "detected" is the box of the first thing that
    vanishes, which needs frames as an array. object_free: frames without the objects, or confidences by
    concept. timestamps [T] in seconds: of a video of variable rate, whose frames are repeated or dropped to
    `fps`. extractor: PixelExtractor() unless given. options: further ones of `score`.
    """
    if timestamps is not None and trace is not None:
        raise ValueError("a trace counts frames, which timestamps change: give one of them.")
    if box == DETECTED and not hasattr(frames, "shape"):
        raise ValueError("a detected box needs frames [T,H,W,3] that can be read twice, not an iterable.")
    extractor = _usual_extractor() if extractor is None else extractor
    concepts = _concepts(vanishing, kept) if detector is not None else ()
    switches = _switches(cues, trace, fps, window)
    how = {"fps": fps, "flow": flow, "perceptual": perceptual}
    watch = {"timestamps": timestamps, "detector": detector, "concepts": concepts, "progress": progress}
    given = None if box == DETECTED else box
    clip = measure_clip(frames, extractor, box=given, **how, **watch)
    if box == DETECTED:
        given = _box_of_what_vanishes(clip.measurements, switches, vanishing)
        region = given and region_of(frames, extractor, given, fps=fps, timestamps=timestamps)
        clip = replace(clip, region=region)
    others = {
        role: _measured(clips, extractor, how | {"box": given})
        for role, clips in (("reference", reference), ("target", target), ("control", control))
    }
    return score(
        clip,
        switches,
        extractor=extractor,
        vanishing=vanishing or None,
        kept=kept,
        object_free=_confidences(object_free, detector, concepts),
        trace=trace,
        **others,
        **options,
    )


def summary(scores: Sequence[SwitchScores]) -> dict[str, float]:
    """Means over switches of valid values and of founding ones; latencies by Kaplan and Meier, in frames."""
    means = {}
    for key in ("stf", "gas", "df", "ddi", "inertia"):
        metrics = [entry.metrics[key] for entry in scores]
        means[key] = mean([metric.value for metric in metrics if metric.valid])
        means[f"{key}_founding"] = mean([metric.founding for metric in metrics])
    for key in ("tl10", "tl90"):
        metrics = [entry.metrics[key] for entry in scores]
        latencies = aggregate_latencies(metrics)
        means[f"{key}_restricted_mean"] = latencies.restricted_mean
        means[f"{key}_reached"] = latencies.reached
        means[f"{key}_founding"] = mean([metric.founding for metric in metrics])
    return means if scores else {}


def neutral(extractor: Any) -> Array:
    """Mean feature [D] of pictures without content: black, grey and white."""
    pictures = np.ones((len(NEUTRAL), NEUTRAL_SIDE, NEUTRAL_SIDE, 3), np.float32)
    pictures *= np.array(NEUTRAL, np.float32)[:, None, None, None]
    return np.asarray(extractor.images(pictures), np.float64).mean(0)


def _video_scores(
    name: str, measured: Measurements, switches: Sequence[Switch], evidence: Sequence[Evidence]
) -> VideoScores:
    frames, fps = len(measured.features), measured.fps
    scores = tuple(
        score_switch(switch, windows_of(switch, switches, frames, fps), known)
        for switch, known in zip(switches, evidence)
    )
    return VideoScores(
        name,
        frames,
        fps,
        tuple(measured.size),
        measured.extractor,
        scores,
        measured,
        guards(measured, whole(frames, fps)),
        summary(scores),
    )


def _texts(extractor: Any, switches: Sequence[Switch], distractors: Sequence[str]) -> dict[str, Array]:
    """Features of all texts by text, none without a text tower."""
    texts = [text for switch in switches for text in (switch.old, switch.new, switch.prompt or switch.new)]
    texts = list(dict.fromkeys([*texts, *distractors]))
    features = extractor.texts(texts) if switches else None
    return {} if features is None else dict(zip(texts, np.asarray(features, np.float64)))


def _vanishing(
    clip: Clip,
    vanishing: Sequence[str] | Mapping[int, Sequence[str]] | None,
    kept: Sequence[str],
    number: int,
) -> tuple[str, ...]:
    """What must go at one switch; raises ValueError for what was not detected."""
    detected = clip.measurements.detections
    if vanishing is None:
        vanishing = [concept for concept in detected if concept not in kept]
    named = vanishing.get(number, ()) if isinstance(vanishing, Mapping) else vanishing
    if unknown := [concept for concept in (*named, *kept) if concept not in detected]:
        raise ValueError(
            f"{unknown} were not detected when the video was measured, but {list(detected)} were."
        )
    return tuple(named)


def _concepts(vanishing: Sequence[str] | Mapping[int, Sequence[str]], kept: Sequence[str]) -> tuple[str, ...]:
    parts = vanishing.values() if isinstance(vanishing, Mapping) else [vanishing]
    return tuple(dict.fromkeys([*(concept for part in parts for concept in part), *kept]))


def _usual_extractor() -> Any:
    from .features import PixelExtractor  # brings torch, which scoring alone does not need

    return PixelExtractor()


def _box_of_what_vanishes(
    measured: Measurements,
    switches: Sequence[Switch],
    vanishing: Sequence[str] | Mapping[int, Sequence[str]],
) -> Box | None:
    """Where the first thing that vanishes was in the settled frames before; None when it was not seen."""
    for number, switch in enumerate(switches):
        named = vanishing.get(number, ()) if isinstance(vanishing, Mapping) else vanishing
        if named and named[0] in measured.boxes:
            windows = windows_of(switch, switches, len(measured.features), measured.fps)
            return detected_box(measured.boxes[named[0]], windows.before)
    return None


def _switches(cues: Sequence[Cue], trace: Mapping[str, Any] | None, fps: float, window: int) -> list[Switch]:
    if trace is not None:
        return switches_from_trace(trace, fps=fps, cues=cues)
    return switches_of(cues, fps=fps, window=window)


def _clip(given: Any) -> Clip | None:
    return given if given is None or isinstance(given, Clip) else Clip(given)


def _for_each(clips: Any, count: int) -> list[Clip | None]:
    """One clip for each of `count` switches."""
    if not isinstance(clips, (list, tuple)):
        return [_clip(clips)] * count
    if len(clips) != count:
        raise ValueError(f"{len(clips)} clips were given for {count} switches: give one or None for each.")
    return [_clip(clip) for clip in clips]


def _measured(given: Any, extractor: Any, how: Mapping[str, Any]) -> Any:
    """Clips of what is given as frames; measurements stay."""
    if isinstance(given, (list, tuple)):
        return [_measured(part, extractor, how) for part in given]
    return measure_clip(given, extractor, **how) if hasattr(given, "shape") else given


def _confidences(object_free: Any, detector: Any, concepts: Sequence[str]) -> Mapping[str, ArrayLike] | None:
    """Confidences by concept, detected where frames are given."""
    if object_free is None or isinstance(object_free, Mapping):
        return object_free
    if detector is None:
        raise ValueError("object_free frames need a detector: give one, or confidences by concept.")
    found = [detector.detect(batch, concepts).confidence for batch in batches_of(object_free)]
    return dict(zip(concepts, np.concatenate(found).T))


def _check_extractors(extractor: Any, clips: Sequence[Clip | None]) -> None:
    names = {clip.measurements.extractor for clip in clips if clip is not None} | {extractor.name}
    if len(names) > 1:
        raise ValueError(
            f"clips measured with {sorted(names)} cannot be compared: use one extractor for all."
        )
