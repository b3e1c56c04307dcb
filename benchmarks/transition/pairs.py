"""Measures of an episode with two subjects: whether the one that is told to leave is gone, and the other one as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tiny.detector import Detection, PairDetection, detect_pair
from ...tiny.world import SIZE, Scene, Subject, draw
from .episodes import Episode
from .measures import HALF_SECOND, VALID_SHARE, Measures, jumps_around, latency, unexplained

Array = NDArray[Any]


def is_valid(past: PairDetection, episode: Episode) -> bool:
    """Whether both subjects are seen as they should be in the half second that ends `past`."""
    return bool(past.agrees(episode.before)[-HALF_SECOND:].mean() >= VALID_SHARE)


def measure_episode(episode: Episode, past: PairDetection, frames: Array, section: int) -> Measures:
    """Measure an episode as measures.measure_episode does; what it takes and gives is told there.

    `gone` and `other` say of the last third of the first new section whether the subject that is told to leave is no longer
    seen in most of its frames, and whether the one that stays is seen in most of them, in the place and at the time that the
    prompt says.
    """
    seen = detect_pair(frames[: section + HALF_SECOND])
    ends = [
        detect_pair(frames[end - section // 3 : end]) for end in range(2 * section, len(frames) + 1, section)
    ]
    state, settled = seen.agrees(episode.after), slice(section - section // 3, section)
    held = tuple(
        bool(part.mean() > 0.5) for part in (state[settled], *(end.agrees(episode.after) for end in ends))
    )
    found = {
        subject: seen.finds(subject)[settled] for subject in (episode.leaving, episode.staying) if subject
    }
    remaining = float(found[episode.leaving].mean()) if episode.leaving else None
    other = found[episode.staying] & seen.in_place(episode.after)[settled] if episode.staying else None
    jumps = jumps_around(_alone(past, episode.staying), _alone(seen, episode.staying), section)
    return Measures(
        success=held[0],
        held=held,
        latency=latency(state, section) if episode.changes else None,
        remaining=remaining,
        jump=jumps["jump"],
        jump_before=jumps["jump_before"],
        jump_after=jumps["jump_after"],
        artefacts=_artefacts(frames[:section], seen),
        gone=None if remaining is None else remaining <= 0.5,
        other=None if other is None else bool(other.mean() > 0.5),
    )


def _alone(seen: PairDetection, subject: Subject | None) -> Detection:
    """What is seen of one subject, as if it were the only one."""
    if subject is None:
        return seen.one
    x, y = seen.place_of(subject).T
    found, count = np.isfinite(x), len(seen)
    return Detection(
        present=found,
        score=found.astype(float),
        shape=np.full(count, subject.shape),
        colour=np.full(count, subject.colour),
        size=np.full(count, subject.size),
        x=x,
        y=y,
        background=seen.one.background,
        night=seen.one.night,
    )


def _artefacts(frames: Array, seen: PairDetection) -> float:
    """Share of frames that show more than the scene that is detected in them."""
    return float(
        np.mean([unexplained(frame, _described(seen, number)) for number, frame in enumerate(frames)])
    )


def _described(seen: PairDetection, frame: int) -> Array:
    """The picture that a detection speaks of, float [64,64,3]; which subject lies in front is not known to it."""
    subjects, places = [], []
    for part in (seen.one, seen.other):
        if part.present[frame]:
            subject = Subject(str(part.shape[frame]), str(part.colour[frame]), str(part.size[frame]))
            half = subject.pixels / 2
            subjects.append(subject)
            places.append(np.clip([part.x[frame], part.y[frame]], half, SIZE - half))
    scene = Scene(str(seen.one.background[frame]), bool(seen.one.night[frame]))
    for slot, subject in enumerate(subjects):
        scene = scene.with_subject(slot, subject)
    ways = [np.array([place]) for place in places] + [np.full((1, 2), np.nan)] * (2 - len(places))
    picture: Array = draw([(0, scene)], ways[0], ways[1])[0] / 255
    return picture
