"""A clip made ready for scoring: frames in batches, at a constant rate, measured whole and by region."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array, finite
from .measurements import Measurements

BATCH = 16
FILL = 0.5  # what hides a region from an extractor

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Region:
    """Features of the two parts that a box divides frames into.

    inside: features [T,D] of what is inside the box.
    outside: features [T,D] of the frames with the box hidden.
    """

    inside: Array
    outside: Array

    def part(self, name: Literal["inside", "outside"]) -> Array:
        """The features of one part."""
        return self.inside if name == "inside" else self.outside


@dataclass(frozen=True, eq=False)
class Clip:
    """A measured video.

    measurements: of the whole frames.
    region: features inside and outside of a box; None where no box was named.
    """

    measurements: Measurements
    region: Region | None = None


def measure_clip(
    frames: Any,
    extractor: Any,
    *,
    fps: float,
    box: ArrayLike | None = None,
    timestamps: ArrayLike | None = None,
    **options: Any,
) -> Clip:
    """Measure frames [T,H,W,3] or an iterable of batches in one pass.

    box: (left, top, right, bottom) in 0..1 of the region, [4], or of each frame, [T,4]; timestamps [T] in seconds of frames of a variable
    rate, which are then repeated or dropped as a player does, to `fps`. options: as for `measure`.
    """
    from .measure import measure  # brings torch, which scoring alone does not need

    batches = batches_of(frames)
    if timestamps is not None:
        batches = at_constant_rate(batches, timestamps, fps)
    if box is None:
        return Clip(measure(batches, extractor, fps=fps, **options))
    recorder = RegionRecorder(extractor, box)
    measurements = measure(recorder.watch(batches), extractor, fps=fps, **options)
    return Clip(measurements, recorder.region())


def region_of(
    frames: Any, extractor: Any, box: ArrayLike, *, fps: float, timestamps: ArrayLike | None = None
) -> Region:
    """The region of frames that can be read once more, [T,H,W,3], in a pass of its own."""
    batches = batches_of(frames)
    recorder = RegionRecorder(extractor, box)
    for _ in recorder.watch(batches if timestamps is None else at_constant_rate(batches, timestamps, fps)):
        pass
    return recorder.region()


def detected_box(boxes: ArrayLike, window: tuple[int, int]) -> Box | None:
    """The smallest box around all boxes [T,4] of a half-open window; None where nothing was detected."""
    known = finite(np.asarray(boxes, np.float64)[slice(*window)])
    if not len(known):
        return None
    (left, top), (right, bottom) = known[:, :2].min(0).clip(0, 1), known[:, 2:].max(0).clip(0, 1)
    return (float(left), float(top), float(right), float(bottom)) if left < right and top < bottom else None


def followed_boxes(boxes: ArrayLike, seen: ArrayLike) -> Array | None:
    """Boxes [T,4] of something that moves, in every frame; None where it is never seen.

    boxes: those in which it was detected [T,4]. seen: the frames in which they are to be believed, bool [T]. Between
    them a box moves evenly; before the first and after the last it stays.
    """
    found = np.asarray(boxes, np.float64).clip(0, 1)
    size = found[:, 2:] - found[:, :2]
    known = np.flatnonzero(np.asarray(seen, bool) & (size > 0).all(1))
    if not len(known):
        return None
    frames = np.arange(len(found))
    return np.stack([np.interp(frames, known, found[known, edge]) for edge in range(4)], axis=1)


def batches_of(frames: Any) -> Iterator[Array]:
    """Batches [N,H,W,3] of a numpy or torch array [T,H,W,3], or of an iterable of batches or frames."""
    if hasattr(frames, "shape"):
        if len(frames.shape) != 4 or frames.shape[-1] != 3 or not len(frames):
            raise ValueError(
                f"a video must be [T, height, width, 3] with T > 0, but is {list(frames.shape)}."
            )
        batches = (frames[first : first + BATCH] for first in range(0, len(frames), BATCH))
    else:
        batches = frames
    for batch in batches:
        batch = np.asarray(batch.cpu() if hasattr(batch, "cpu") else batch)
        yield batch[None] if batch.ndim == 3 else batch


def shown_at(timestamps: ArrayLike, fps: float) -> Array:
    """How often each frame is shown when a player shows, at every tick of `fps`, the latest frame, int [T].

    timestamps [T] in seconds, rising. The last frame lasts as long as frames usually do (the median).
    """
    times = np.asarray(timestamps, np.float64)
    steps = np.diff(times)
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all() or (steps <= 0).any():
        raise ValueError("timestamps must be one rising number of seconds a frame.")
    end = times[-1] + (float(np.median(steps)) if len(steps) else 1 / fps)
    count = max(round((end - times[0]) * fps), 1)
    # Half a millisecond of tolerance: containers round their times.
    shown = np.searchsorted(times, times[0] + np.arange(count) / fps + 5e-4, side="right") - 1
    return np.bincount(shown, minlength=len(times))


def at_constant_rate(batches: Iterable[Array], timestamps: ArrayLike, fps: float) -> Iterator[Array]:
    """Repeat or drop the frames of batches so that they lie 1/fps apart; ValueError for a missing time."""
    times, first = shown_at(timestamps, fps), 0
    for batch in batches:
        count = times[first : first + len(batch)]
        if len(count) < len(batch):
            raise ValueError(f"{len(times)} timestamps were given, but the video has more frames.")
        first += len(batch)
        if count.sum():
            yield np.repeat(batch, count, axis=0)
    if first < len(times):
        raise ValueError(f"{len(times)} timestamps were given, but the video has {first} frames.")


class RegionRecorder:
    """Keeps features of the inside and the outside of a box while batches pass through.

    extractor: computes the features. boxes: left, top, right, bottom as shares of the picture, 0..1, of one box [4], or of
    one that moves [T,4], with a row for each frame, which begin anew where a clip has more frames. What is cut out has
    the size of the largest of them throughout. Raises ValueError for other boxes.
    """

    def __init__(self, extractor: Any, boxes: ArrayLike) -> None:
        self.extractor, self.boxes, self.count = extractor, np.atleast_2d(np.asarray(boxes, np.float64)), 0
        (left, top), (right, bottom) = self.boxes[:, :2].T, self.boxes[:, 2:].T
        inside = (left >= 0) & (top >= 0) & (right <= 1) & (bottom <= 1)
        if not (inside & (left < right) & (top < bottom)).all():
            raise ValueError(
                f"box is {self.boxes.tolist()}; give left, top, right, bottom as shares of the picture, 0..1."
            )
        self._inside: list[Array] = []
        self._outside: list[Array] = []

    def watch(self, batches: Iterable[Array]) -> Iterator[Array]:
        """The same batches."""
        for batch in batches:
            self._record(batch)
            yield batch

    def region(self) -> Region:
        """What was recorded so far."""
        return Region(np.concatenate(self._inside), np.concatenate(self._outside))

    def _record(self, batch: Array) -> None:
        places = [self._place(self.count + number, batch.shape[1:3]) for number in range(len(batch))]
        self.count += len(batch)
        finite: Array = np.asarray(np.isfinite(batch).all((1, 2, 3)))
        inside, hidden = np.stack([frame[place] for frame, place in zip(batch, places)]), batch.copy()
        for frame, place in zip(hidden, places):
            frame[place] = FILL * (255 if batch.dtype == np.uint8 else 1)
        for kept, frames in ((self._inside, inside), (self._outside, hidden)):
            kept.append(_features(self.extractor.images, np.ascontiguousarray(frames), finite))

    def _place(self, number: int, size: Sequence[int]) -> tuple[slice, slice]:
        """The rows and columns of the box of a frame."""
        index, (height, width) = number % len(self.boxes), size
        rows = _spans(self.boxes[:, 1], self.boxes[:, 3], height)
        columns = _spans(self.boxes[:, 0], self.boxes[:, 2], width)
        return slice(*rows[index]), slice(*columns[index])


def _spans(low: Array, high: Array, length: int) -> Array:
    """Half-open ranges of px [T,2] of an axis of `length` px, all as long as the longest, inside of it."""
    first = np.minimum((low * length).astype(int), length - 1)
    last = np.maximum(np.round(high * length).astype(int), first + 1)
    longest = int((last - first).max())
    first = np.clip(first - (longest - (last - first)) // 2, 0, length - longest)
    return np.stack([first, first + longest], axis=1)


def _features(images: Callable[[Array], Array], frames: Array, finite: Array) -> Array:
    """Features of frames, NaN for those that are not finite."""
    features = np.asarray(
        images(np.where(finite[:, None, None, None], frames, 0).astype(frames.dtype)), np.float64
    )
    features[~finite] = np.nan
    return features
