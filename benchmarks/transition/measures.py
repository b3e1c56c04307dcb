"""Measures of an episode, by the analytic detector of the embedded world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tiny.detector import Detection, agrees, detect, jump
from ...tiny.world import FAST, SIZE, Scene, Subject, render
from ...tiny.world.tables import SIZE_WORDS
from .episodes import Episode

HALF_SECOND = 15  # frames
SHORTEST_HOLD = 5  # frames, where the video ends sooner
HOLD_SHARE = 0.9  # of the next half second, for a state to have been reached
VALID_SHARE = 0.8  # of the half second before the switch in which the old scene must be seen
LOOK_AHEAD = 12  # frames over which it is judged how a subject moves
FAST_RANGE, STILL_RANGE = 7.0, 3.0  # px covered in these frames: at least, at most
BLOCK = 8  # px
ARTEFACT = 0.16  # difference of a block's mean colour to the picture that the detector describes

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What one episode has shown under one technique. None where a measure does not apply.

    success: the new scene is seen in most of the last third of the first new section.
    held: the same for every section after the switch.
    latency: frames from the switch until the new scene is seen and stays for half a second (see latency); None when that
        did not begin in the first new section.
    remaining: share of what should have changed that is still seen in the last third of that section.
    jump: px between where the subject was going and where it is in the first new frame; before and after:
        the usual values between other frames.
    artefacts: share of the first new section's frames that show something else than a scene of the world.
    size: share of the frames of its last third with the new scene in which the subject has the size that was asked for or, where
        it should stay as it is, that it had; success does not look at it. None without such frames.
    place, subject: whether in most frames of that last third place and time are those that are asked for, and the subject's shape
        and colour or its absence. None with two subjects.
    gone, other: of two subjects, whether the one that is told to leave is gone, and whether the other one is as it was.
    """

    success: bool
    held: tuple[bool, ...]
    latency: int | None
    remaining: float | None
    jump: float | None
    jump_before: float | None
    jump_after: float | None
    artefacts: float
    size: float | None = None
    place: bool | None = None
    subject: bool | None = None
    gone: bool | None = None
    other: bool | None = None


def is_valid(detection: Detection, episode: Episode) -> bool:
    """Whether the scene before the switch is seen in the half second that ends `detection`."""
    return bool(
        holds(detection, episode.before, episode.asks_for_motion)[-HALF_SECOND:].mean() >= VALID_SHARE
    )


def measure_episode(episode: Episode, past: Detection, frames: Array, section: int) -> Measures:
    """Measure an episode by what was seen before the switch and what is shown after it.

    `past` ends at the switch; `frames` [T,64,64,3] in 0..1 are whole sections of `section` frames after it.
    """
    new = frames[: section + HALF_SECOND]
    seen = detect(new)
    ends = [detect(frames[end - section // 3 : end]) for end in range(2 * section, len(frames) + 1, section)]
    return _measures(
        episode, past=past, new=seen, artefact=artefacts(new[:section], seen), ends=ends, section=section
    )


def _measures(
    episode: Episode, *, past: Detection, new: Detection, artefact: Array, ends: list[Detection], section: int
) -> Measures:
    """Measures of what was seen: `new` is the first section and half a second, `ends` later last thirds."""
    motion = episode.asks_for_motion
    state = holds(new, episode.after, motion)
    settled = slice(section - section // 3, section)
    success = bool(state[settled].mean() > 0.5)
    later = (bool(holds(end, episode.after, motion).mean() > 0.5) for end in ends)
    jumps = jumps_around(past, new, section) if episode.keeps_subject else {}
    return Measures(
        success=success,
        held=(success, *later),
        latency=latency(state, section) if episode.changes else None,
        remaining=remaining_share(new, episode.before, episode.after, settled, motion=motion)
        if episode.changes
        else None,
        jump=jumps.get("jump"),
        jump_before=jumps.get("jump_before"),
        jump_after=jumps.get("jump_after"),
        artefacts=float(artefact.mean()),
        size=_size_share(new[settled], episode, state[settled]),
        place=mostly(shows_place(new[settled], episode.after)),
        subject=mostly(shows_subject(new[settled], episode.after)),
    )


def shows_place(seen: Detection, scene: Scene) -> Array:
    """In which frames place and time are a scene's, bool [T]."""
    same: Array = (seen.background == scene.background) & (seen.night == scene.night)
    return same


def shows_subject(seen: Detection, scene: Scene) -> Array:
    """In which frames the subject's shape and colour or its absence are a scene's, bool [T]."""
    if scene.subject is None:
        return np.logical_not(seen.present)
    same: Array = (seen.shape == scene.subject.shape) & (seen.colour == scene.subject.colour)
    return np.logical_and(same, seen.present)


def mostly(frames: Array) -> bool:
    """Whether something is so in more than half of the frames, bool [T]."""
    return bool(frames.mean() > 0.5)


def _size_share(seen: Detection, episode: Episode, right: Array) -> float | None:
    """Share of the frames in which the scene is `right` whose subject has its size; None where nothing says which one."""
    subject = episode.after.subject
    if subject is None or not right.any() or not (episode.keeps_subject or _tells_size(episode, subject)):
        return None
    return float((seen.size[right] == subject.size).mean())


def _tells_size(episode: Episode, subject: Subject) -> bool:
    return bool(set(SIZE_WORDS[subject.size]) & set(episode.prompts[1].split()))


def holds(detection: Detection, scene: Scene, motion: bool = False) -> Array:
    """In which frames a scene is seen, bool [T]; with `motion` the subject must also move as it says."""
    seen = agrees(detection, scene)
    return seen & (motions(detection) == scene.motion) if motion else seen


def motions(detection: Detection) -> Array:
    """How the subject moves from each frame on [T]: still, sideways, vertical, or empty for none of these."""
    count = len(detection)
    covered = np.empty((count, 2))
    for frame in range(count):
        first = max(min(frame, count - LOOK_AHEAD), 0)
        ahead = slice(first, first + LOOK_AHEAD)
        seen = detection.present[ahead]
        covered[frame] = [
            np.ptp(axis[ahead][seen]) if seen.any() else np.nan for axis in (detection.x, detection.y)
        ]
    largest, axis = covered.max(1), covered.argmax(1)
    fast = np.array(list(FAST))[axis]
    return np.select([largest >= FAST_RANGE, largest <= STILL_RANGE], [fast, "still"], "")


def latency(state: Array, section: int) -> int | None:
    """The first frame of the first `section` frames from which `state` bool [T] holds, None without one.

    A state holds for half a second, or until the video ends if that comes first and there are SHORTEST_HOLD frames of it.
    """
    for frame in range(min(section, len(state) - SHORTEST_HOLD + 1)):
        if state[frame] and state[frame : frame + HALF_SECOND].mean() >= HOLD_SHARE:
            return frame
    return None


def artefacts(frames: Array, detection: Detection) -> Array:
    """Which frames [T,64,64,3] in 0..1 show more than the scene that is detected in them, bool [T]."""
    return np.array(
        [unexplained(frame, described_picture(detection, number)) for number, frame in enumerate(frames)]
    )


def jumps_around(past: Detection, new: Detection, section: int) -> dict[str, float | None]:
    """A subject's jumps at, before and after a switch, by their names in Measures; `new` is seen after it, for a section at least."""
    whole, switch = _joined(past, new), len(past) - 1
    jumps = [jump(whole, frame) for frame in range(1, len(past) + section)]
    parts = {
        "jump": jumps[switch : switch + 1],
        "jump_before": jumps[:switch],
        "jump_after": jumps[switch + 1 :],
    }
    return {name: _median(part) for name, part in parts.items()}


def _joined(first: Detection, second: Detection) -> Detection:
    """Two detections one after the other."""
    return Detection(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in (first, second)])
            for field in fields(Detection)
        }
    )


def described_picture(detection: Detection, frame: int) -> Array:
    """The picture that a detection speaks of in a frame, float [64,64,3] in 0..1."""
    at = {field.name: getattr(detection, field.name)[frame] for field in fields(Detection)}
    place = str(at["background"]), bool(at["night"])
    if not at["present"]:
        return render(Scene(*place)) / 255
    subject = Subject(str(at["shape"]), str(at["colour"]), str(at["size"]))
    half = subject.pixels / 2
    x, y = (float(np.clip(at[axis], half, SIZE - half)) for axis in ("x", "y"))
    return render(Scene(*place, subject), x, y) / 255


def unexplained(frame: Array, described: Array) -> bool:
    """Whether a block's mean colour differs by more than ARTEFACT between a frame and a picture; edges may be soft."""
    side = SIZE // BLOCK
    blocks = (frame - described).reshape(side, BLOCK, side, BLOCK, 3).mean((1, 3))
    return bool(np.abs(blocks).mean(-1).max() > ARTEFACT)


def remaining_share(
    detection: Detection, before: Scene, after: Scene, settled: slice, *, motion: bool = False
) -> float:
    """Share of frames in which what should have changed is still old, over all that should have changed.

    settled: the frames of the detection that are looked at. motion: whether how the subject moves should have changed.
    """
    attributes: dict[str, tuple[Callable[[Scene], Any], Array]] = {
        "background": (lambda scene: scene.background, detection.background),
        "night": (lambda scene: scene.night, detection.night),
        "presence": (lambda scene: scene.subject is not None, detection.present),
        "shape": (
            lambda scene: scene.subject.shape if scene.subject else "",
            _of_subject(detection, detection.shape),
        ),
        "colour": (
            lambda scene: scene.subject.colour if scene.subject else "",
            _of_subject(detection, detection.colour),
        ),
    }
    if motion:
        attributes["motion"] = (lambda scene: scene.motion, motions(detection))
    still_old = [seen[settled] == of(before) for of, seen in attributes.values() if of(before) != of(after)]
    return float(np.mean(still_old))


def _of_subject(detection: Detection, names: Array) -> Array:
    return np.where(detection.present, names, "")


def _median(values: list[float]) -> float | None:
    """Median of the values that are numbers, None without any."""
    numbers = [value for value in values if np.isfinite(value)]
    return float(np.median(numbers)) if numbers else None
