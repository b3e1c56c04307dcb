"""One pass over a video that measures what the metrics need, and keeps no frames but a few small ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..features.base import Extractor
from ..features.frames import planes, reduced
from .chunks import chunks_of
from .detectors import Detector
from .flow.base import Flow
from .flow.curve import FlowCurve
from .flow.lucas_kanade import LucasKanade
from .image_statistics import blockiness, finite_frames, image_statistics, noise, pixel_change
from .measurements import Measurements
from .perceptual import Perceptual
from .subjects import subject_features
from .thumbnails import Thumbnails

logger = logging.getLogger(__name__)

BRIGHTEST = 2.0  # brighter pictures are in 0..255, whatever overshoots a decoder makes


def measure(
    batches: Any,
    extractor: Extractor,
    *,
    fps: float,
    detector: Detector | None = None,
    concepts: Sequence[str] = (),
    followed: Sequence[str] = (),
    flow: Flow | Literal["auto", "off"] = "auto",
    perceptual: Perceptual | None = None,
    progress: Callable[[int], None] | None = None,
) -> Measurements:
    """Measure a video: frames [T,H,W,3] or an iterable of batches [N,H,W,3], float in 0..1 or uint8.

    Batches are read once and let go; uint8 is several times faster. concepts: what the detector looks for.
    followed: those of them that are cut out of each frame, by their boxes, and compared with themselves.
    flow: "auto" is LucasKanade(). perceptual: the distance of neighbouring frames; None compares their features.
    progress: is called with the number of frames done. Raises ValueError for no frames, frames of different sizes
    and values beyond 0..1.
    """
    video = VideoMeasurer(
        extractor,
        fps=fps,
        flow=flow,
        perceptual=perceptual,
        detector=detector,
        concepts=tuple(concepts),
        followed=tuple(followed),
    )
    for chunk in chunks_of(batches):
        video.add(chunk)
        if progress is not None:
            progress(video.count)
    return video.result()


class VideoMeasurer:
    """Measures the frames of a video as they come; the arguments are those of `measure`.

    count: number of frames so far.
    """

    def __init__(
        self,
        extractor: Extractor,
        *,
        fps: float,
        flow: Flow | Literal["auto", "off"] = "auto",
        perceptual: Perceptual | None = None,
        detector: Detector | None = None,
        concepts: tuple[str, ...] = (),
        followed: tuple[str, ...] = (),
    ) -> None:
        if not (isfinite(fps) and fps > 0):
            raise ValueError(f"fps is {fps}; give the frames per second of the video, for example 30.")
        self.extractor, self.fps, self.count = extractor, fps, 0
        self.size: tuple[int, int] | None = None
        self.detector, self.concepts, self.followed = detector, concepts, followed
        chosen = _chosen_flow(flow)
        self.flow = None if chosen is None else FlowCurve(chosen, fps)
        self.perceptual = perceptual
        self.distances = None if perceptual is None else _Neighbours(perceptual.distance)
        self.pixels = _Neighbours(pixel_change)
        self.thumbnails = Thumbnails()
        self._finite: list[Array] = []
        self._parts: dict[str, list[Array]] = {}

    def update(self, frames: Any) -> None:
        """Measure the next frames [N,H,W,3], however many; raises ValueError as `measure` does."""
        for chunk in chunks_of(frames):
            self.add(chunk)

    def add(self, frames: Tensor) -> None:
        """Measure the next frames [N,H,W,3], a few at once."""
        self._check_size(frames)
        finite = finite_frames(frames)
        if not finite.all():
            bad = self.count + np.flatnonzero(~finite)
            logger.warning("Frames %s hold NaN or infinite values and are left out.", bad.tolist())
            frames = torch.where(torch.from_numpy(finite)[:, None, None, None], frames, 0)
        small = reduced(frames)
        self._finite.append(finite)
        for name, values in self._measured(frames, small).items():
            values = np.array(values, np.float32)
            values[~finite] = np.nan
            self._parts.setdefault(name, []).append(values)
        self.pixels.add(frames, finite)
        if self.distances is not None:
            self.distances.add(small, finite)
        if self.flow is not None:
            self.flow.add(self.count, small)
        self.thumbnails.add(self.count, small)
        self.count += len(frames)

    def result(self) -> Measurements:
        """The measurements of all frames so far; more may follow. Raises ValueError when there was no frame."""
        if self.size is None:
            raise ValueError("the video has no frames.")
        known = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        finite = np.concatenate(self._finite)
        change, method = self._change(known["features"])
        confidence, boxes = known.pop("confidence", None), known.pop("boxes", None)
        subjects = {
            name: known.pop(f"subject {name}") for name in self.followed if f"subject {name}" in known
        }
        return Measurements(
            fps=self.fps,
            size=self.size,
            extractor=self.extractor.name,
            change=change,
            change_method=method,
            pixel_change=self.pixels.curve(),
            flow=np.full(self.count - 1, np.nan) if self.flow is None else self.flow.curve(finite),
            flow_method="off" if self.flow is None else self.flow.flow.name,
            flow_stride=1 if self.flow is None else self.flow.stride,
            finite=finite,
            detections=self._by_concept(confidence),
            boxes=self._by_concept(boxes),
            subjects=subjects,
            detection_floor=getattr(self.detector, "floor", None),
            thumbnails=self.thumbnails.pictures,
            **known,
        )

    def _measured(self, frames: Tensor, small: Tensor) -> dict[str, Array]:
        """The measurements of frames [N,H,W,3] by name; `small` are the same, reduced."""
        statistics = image_statistics(small)
        self._check_values(statistics["brightness"])
        return {
            **statistics,
            "noise": noise(frames),
            "blockiness": blockiness(frames),
            "features": self._features(frames, small),
            **self._detected(frames),
        }

    def _features(self, frames: Tensor, small: Tensor) -> Array:
        resolution = getattr(self.extractor, "resolution", None)
        enough = resolution is not None and resolution <= min(small.shape[-2:])
        shown = small.movedim(1, -1) if enough or small.shape[-2:] == frames.shape[1:3] else frames
        return self.extractor.images(shown)

    def _detected(self, frames: Tensor) -> dict[str, Array]:
        if self.detector is None or not self.concepts:
            return {}
        found = self.detector.detect(planes(frames).movedim(1, -1).numpy(), self.concepts)
        cut = {
            f"subject {name}": subject_features(
                frames, found.boxes[:, self.concepts.index(name)], self.extractor
            )
            for name in self.followed
        }
        return {"confidence": found.confidence, "boxes": found.boxes, **cut}

    def _change(self, features: Array) -> tuple[Array, str]:
        """Distance of neighbouring frames [T-1], and what that distance is."""
        if self.distances is not None and self.perceptual is not None:
            return self.distances.curve(), self.perceptual.name
        change = np.abs(np.diff(features, axis=0)).mean(1)
        return change, f"mean absolute difference of {self.extractor.name} features"

    def _by_concept(self, values: Array | None) -> dict[str, Array]:
        return {} if values is None else {name: values[:, i] for i, name in enumerate(self.concepts)}

    def _check_size(self, frames: Tensor) -> None:
        height, width = frames.shape[1:3]
        if self.size is None:
            self.size = (height, width)
        if (height, width) != self.size:
            raise ValueError(
                f"frame {self.count} is {width}x{height} px, the frames before are "
                f"{self.size[1]}x{self.size[0]}: bring all frames of a video to one size."
            )

    def _check_values(self, brightness: Array) -> None:
        if brightness.max() > BRIGHTEST:
            raise ValueError(
                f"frames from {self.count} on have a mean brightness of up to {brightness.max():.4g}: "
                "give floats in 0..1, or uint8."
            )


class _Neighbours:
    """The distance of each frame to the one before."""

    def __init__(self, distance: Callable[[Tensor, Tensor], Any]) -> None:
        self.distance = distance
        self._last: Tensor | None = None  # the frame before
        self._last_finite = False
        self._parts: list[Array] = []

    def add(self, frames: Tensor, finite: Array) -> None:
        """Compare the next frames [N,...]; next to one that is not `finite` the distance is NaN."""
        before = frames[:1] if self._last is None else self._last
        both = torch.cat([before, frames])
        distances = np.array(self.distance(both[:-1], both[1:]), np.float32)
        known = np.concatenate([[self._last_finite], finite])
        distances[~(known[1:] & known[:-1])] = np.nan
        self._parts.append(distances)
        self._last, self._last_finite = frames[-1:].clone(), bool(finite[-1])

    def curve(self) -> Array:
        """Distances [T-1] of neighbouring frames."""
        return np.concatenate(self._parts)[1:]


def _chosen_flow(flow: Flow | Literal["auto", "off"]) -> Flow | None:
    if not isinstance(flow, str):
        return flow
    if flow not in ("auto", "off"):
        raise ValueError(f'flow is {flow!r}: give "auto", "off" or a Flow.')
    return LucasKanade() if flow == "auto" else None
