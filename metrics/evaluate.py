"""All metrics of a video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array
from .definitions.dynamics import PENALTY
from .measuring.clip import Box, Clip, batches_of, measure_clip, region_of
from .measuring.evidence import Evidence, Part
from .measuring.measurements import Measurements
from .results import VideoScores
from .scoring.distractors import suggested_distractors
from .scoring.guards import guards, whole
from .scoring.switch_scores import score_switch, summary
from .scoring.tracks import track_of
from .switches import Cue, Switch, switches_from_trace, switches_of, windows_of

NEUTRAL = (0.0, 0.5, 1.0)  # brightness of the pictures without content around which features are centred
NEUTRAL_SIDE = 64  # px

Concepts = Sequence[str] | Mapping[int, Sequence[str]]
Distractors = Sequence[str] | Callable[[Switch], Sequence[str]]


def score(
    measurements: Measurements | Clip,
    switches: Sequence[Switch],
    *,
    extractor: Any,
    reference: Any = None,
    target: Any = None,
    control: Measurements | Clip | None = None,
    vanishing: Concepts | None = None,
    kept: Sequence[str] = (),
    kept_region: Part = "outside",
    object_free: Mapping[str, ArrayLike] | None = None,
    threshold: float | None = None,
    trace: Mapping[str, Any] | None = None,
    distractors: Distractors = (),
    penalty: float = PENALTY,
    name: str = "video",
) -> VideoScores:
    """Score the switches of a measured video; without any there are guards and curves only.

    extractor: the one that measured; it supplies features of texts and the logit scale.
    reference: clips of the new prompt without the old history, one for all switches, or a list with one or None for
    each. target: the same of pictures that show nothing but the new scene. control: the video without the switch.
    vanishing: detected concepts that should disappear, the first of which is DF; by number of the switch where they
    differ; None takes all that are not `kept`. kept: detected concepts that should stay. kept_region: the part of a
    region that should not change; GAS looks at the other part. object_free: confidences on frames without an object
    [n], by concept. threshold: confidence above which an object counts as seen, instead of theirs. trace: the
    sampler's trace, which inertia reads. distractors: texts of what is neither the old nor the new state of a switch, the
    same for all switches, or a function that gives those of one, such as `suggested` below.
    penalty: lambda of DDI, by which motion off the prompt weighs.

    A metric whose guard fails is not valid and says so. Raises ValueError when clips were measured by different
    extractors, or for concepts that were not detected.
    """
    clip, other = _clip(measurements), _optional_clip(control)
    references, targets = (_for_each(clips, len(switches)) for clips in (reference, target))
    _check_extractors(extractor, [clip, other, *references, *targets])
    frames, fps = len(clip.measurements), clip.measurements.fps
    others = [_distractors(distractors, switch) for switch in switches]
    texts, centre = _texts(extractor, switches, others), neutral(extractor)
    scores = [
        score_switch(
            Evidence(
                switch=switch,
                windows=windows_of(switch, switches, frames, fps),
                clip=clip,
                extractor=extractor,
                texts=texts,
                centre=centre,
                reference=references[number],
                target=targets[number],
                control=other,
                vanishing=_vanishing(clip, vanishing, kept, number),
                kept=tuple(kept),
                kept_region=kept_region,
                object_free=object_free or {},
                threshold=threshold,
                distractors=others[number],
                trace=trace,
                penalty=penalty,
            )
        )
        for number, switch in enumerate(switches)
    ]
    return VideoScores(
        name=name,
        frames=frames,
        fps=fps,
        size=clip.measurements.size,
        features=clip.measurements.extractor,
        switches=tuple(scores),
        measurements=clip.measurements,
        guards=guards(clip.measurements, whole(frames, fps)),
        summary=summary(scores),
    )


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
    vanishing: Concepts = (),
    kept: Sequence[str] = (),
    object_free: Any = None,
    flow: Any = "auto",
    perceptual: Any = None,
    progress: Any = None,
    **options: Any,
) -> VideoScores:
    """Measure and score a video: frames [T,H,W,3] in 0..1, an iterable of batches of them, or a clip measured before.

    cues: the prompts and when they are asked for. trace: the sampler's trace, which says from which frame on each is
    in force; without one `window` does, the latent frames of a section (0 takes the times of the cues as they are).
    extractor: computes features; None is PixelExtractor(). detector: finds `vanishing` and `kept`.
    reference, target, control: frames or measurements, see `score`. box: region of all that are frames (left, top,
    right, bottom in 0..1); "detected" follows the first thing that vanishes, and needs frames as an array: where it is
    not seen it is looked for where it was last.
    object_free: frames without the objects, or confidences by concept. timestamps: seconds [T] of the frames of a
    video of variable rate, which are repeated or dropped to `fps`. flow, perceptual, progress: as for `measure`.
    options: further keywords of `score`.
    """
    if timestamps is not None and trace is not None:
        raise ValueError("a trace counts frames, which timestamps change: give one of them.")
    detect = box == "detected"
    if detect and not hasattr(frames, "shape"):
        raise ValueError("a detected box needs frames [T,H,W,3] that can be read twice, not an iterable.")
    extractor = usual_extractor() if extractor is None else extractor
    concepts = concepts_of(vanishing, kept) if detector is not None else ()
    switches = _switches(cues, trace, fps, window)
    how = {"fps": fps, "flow": flow, "perceptual": perceptual}
    watch = {"timestamps": timestamps, "detector": detector, "concepts": concepts, "progress": progress}
    watch["followed"] = tuple(concept for concept in concepts if concept in kept)
    place = later = None if isinstance(box, str) else box
    measured = isinstance(frames, Clip)
    clip = frames if measured else measure_clip(frames, extractor, box=place, **how, **watch)
    free = _confidences(object_free, detector, concepts)
    if detect:
        place, later = _track_of_what_vanishes(
            clip.measurements, switches, vanishing, free=free, threshold=options.get("threshold")
        )
        if place is not None:
            clip = replace(clip, region=region_of(frames, extractor, place, fps=fps, timestamps=timestamps))
    others = {
        role: _measured(clips, extractor, how | {"box": place if role == "control" else later})
        for role, clips in (("reference", reference), ("target", target), ("control", control))
    }
    return score(
        clip,
        switches,
        extractor=extractor,
        vanishing=vanishing or None,
        kept=kept,
        object_free=free,
        trace=trace,
        **others,
        **options,
    )


def neutral(extractor: Any) -> Array:
    """Mean feature [D] of pictures without content: black, grey and white."""
    pictures = np.ones((len(NEUTRAL), NEUTRAL_SIDE, NEUTRAL_SIDE, 3), np.float32)
    pictures *= np.array(NEUTRAL, np.float32)[:, None, None, None]
    mean: Array = np.asarray(extractor.images(pictures), np.float64).mean(0)
    return mean


def suggested(switch: Switch) -> tuple[str, ...]:
    """The distractors that follow from the texts of a switch."""
    return suggested_distractors(switch.old, switch.new)


def _distractors(given: Distractors, switch: Switch) -> tuple[str, ...]:
    texts = given(switch) if callable(given) else given
    return tuple(text for text in dict.fromkeys(texts) if text not in (switch.old, switch.new))


def _texts(
    extractor: Any, switches: Sequence[Switch], distractors: Sequence[Sequence[str]]
) -> dict[str, Array]:
    """Features of all texts by text, none without a text tower."""
    texts = [text for switch in switches for text in (switch.old, switch.new, switch.prompt or switch.new)]
    texts = list(dict.fromkeys([*texts, *(text for others in distractors for text in others)]))
    features = extractor.texts(texts) if switches else None
    return {} if features is None else dict(zip(texts, np.asarray(features, np.float64)))


def _vanishing(clip: Clip, vanishing: Concepts | None, kept: Sequence[str], number: int) -> tuple[str, ...]:
    """What should disappear at one switch; raises ValueError for what was not detected."""
    detected = clip.measurements.detections
    if vanishing is None:
        vanishing = [concept for concept in detected if concept not in kept]
    named = _at_switch(vanishing, number)
    if unknown := [concept for concept in (*named, *kept) if concept not in detected]:
        raise ValueError(
            f"{unknown} were not detected when the video was measured, but {list(detected)} were."
        )
    return tuple(named)


def _at_switch(concepts: Concepts, number: int) -> Sequence[str]:
    return concepts.get(number, ()) if isinstance(concepts, Mapping) else concepts


def concepts_of(vanishing: Concepts, kept: Sequence[str]) -> tuple[str, ...]:
    """All that a detector looks for, each once."""
    parts = vanishing.values() if isinstance(vanishing, Mapping) else [vanishing]
    return tuple(dict.fromkeys([*(concept for part in parts for concept in part), *kept]))


def usual_extractor() -> Any:
    """What features are computed with where no extractor is given."""
    from .features import PixelExtractor

    return PixelExtractor()


def _track_of_what_vanishes(
    measured: Measurements,
    switches: Sequence[Switch],
    vanishing: Concepts,
    *,
    free: Mapping[str, ArrayLike] | None,
    threshold: float | None,
) -> tuple[Any, Any]:
    """The box of the first thing that vanishes, of all frames [T,4] and of those from its switch on; None if never seen."""
    for number, switch in enumerate(switches):
        named = _at_switch(vanishing, number)
        if named and named[0] in measured.boxes:
            track = track_of(measured, named[0], free, threshold)
            return track, None if track is None else track[min(max(switch.frame, 0), len(track) - 1) :]
    return None, None


def _switches(cues: Sequence[Cue], trace: Mapping[str, Any] | None, fps: float, window: int) -> list[Switch]:
    if trace is not None:
        return switches_from_trace(trace, fps=fps, cues=cues)
    return switches_of(cues, fps=fps, window=window)


def _clip(given: Measurements | Clip) -> Clip:
    return given if isinstance(given, Clip) else Clip(given)


def _optional_clip(given: Measurements | Clip | None) -> Clip | None:
    return None if given is None else _clip(given)


def _for_each(clips: Any, count: int) -> list[Clip | None]:
    """One clip for each of `count` switches."""
    if not isinstance(clips, (list, tuple)):
        return [_optional_clip(clips)] * count
    if len(clips) != count:
        raise ValueError(f"{len(clips)} clips were given for {count} switches: give one or None for each.")
    return [_optional_clip(clip) for clip in clips]


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
