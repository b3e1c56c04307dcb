"""One pass over a video that keeps what the metrics need, and no frames but a few small ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..features.base import Extractor, as_frames, planes, reduced
from .detectors import Detector
from .flow import RATE, Flow, LucasKanade, degree
from .perceptual import Perceptual

logger = logging.getLogger(__name__)

CHUNK = 16  # frames worked on at once
THUMBNAILS = 64
LUMA = (0.2126, 0.7152, 0.0722)  # BT.709
BRIGHTEST = 2.0  # brighter pictures are in 0..255, whatever overshoots a decoder makes
TILE, TILES = 32, 4  # px and number a side, of the places where noise is measured
# What a normal distribution's median of absolute values is to its standard deviation, and the length of the mask.
NOISE_SCALE = 0.6744898 * 6

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Measurements:
    """What was seen in T frames of one size; frames with NaN or infinite values are NaN everywhere.

    size: height and width in px. extractor: its name. features: raw, float32 [T,D].
    change [T-1]: distance of neighbours by `change_method`. flow [T-1]: flow degree at 8 frames per second
    (see flow.degree) of the stretch of `flow_stride` frames that a pair of neighbours lies in, NaN when off.
    brightness: mean luma. saturation: mean of the largest minus the smallest channel. sharpness: root mean
    square of the Laplacian at a short side of 192 px. noise: standard deviation, estimated at full size
    (Immerkaer 1996, with a median). All [T] in pixel values 0..1.
    detections, boxes: confidence [T] and box [T,4] (left, top, right, bottom in 0..1) by concept.
    thumbnails: uint8 [h,w,3] by frame number, evenly spaced.
    """

    fps: float
    size: tuple[int, int]
    extractor: str
    features: Array
    change: Array
    change_method: str
    flow: Array
    flow_method: str
    brightness: Array
    saturation: Array
    sharpness: Array
    noise: Array
    finite: Array
    detections: dict[str, Array] = field(default_factory=dict)
    boxes: dict[str, Array] = field(default_factory=dict)
    thumbnails: dict[int, Array] = field(default_factory=dict)
    flow_stride: int = 1

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.finite)


def measure(
    batches: Any,
    extractor: Extractor,
    *,
    fps: float,
    detector: Detector | None = None,
    concepts: Sequence[str] = (),
    flow: Flow | Literal["auto", "off"] = "auto",
    perceptual: Perceptual | None = None,
    progress: Callable[[int], None] | None = None,
) -> Measurements:
    """Measure a video, frames [T,H,W,3] or an iterable of batches [N,H,W,3], float in 0..1 or uint8.

    Batches are read once and let go; uint8 is several times faster. concepts: what the detector looks for.
    flow: "auto" is LucasKanade(). perceptual: None compares features. progress: is told the number of frames
    done. Raises ValueError for no frames, frames of different sizes and values beyond 0..1.
    """
    if not (isfinite(fps) and fps > 0):
        raise ValueError(f"fps is {fps}; give the frames per second of the video, for example 30.")
    passing = _Pass(extractor, fps, _flow(flow), perceptual, detector, tuple(concepts))
    for chunk in _chunks(batches):
        passing.see(chunk)
        if progress is not None:
            progress(passing.count)
    return passing.result()


class _Pass:
    """What is known of a video so far."""

    def __init__(
        self,
        extractor: Extractor,
        fps: float,
        flow: Flow | None,
        perceptual: Perceptual | None,
        detector: Detector | None,
        concepts: tuple[str, ...],
    ) -> None:
        self.extractor, self.fps, self.count = extractor, fps, 0
        self.size: tuple[int, int] | None = None
        self.perceptual = perceptual
        self.detector, self.concepts = detector, concepts if detector is not None else ()
        self.flow = None if flow is None else _FlowCurve(flow, fps)
        self.thumbnails = _Thumbnails()
        self._last: Tensor | None = None  # the frame before, small, for the perceptual distance
        self._parts: dict[str, list[Array]] = {}

    def see(self, frames: Tensor) -> None:
        """Measure the next frames [N,H,W,3]."""
        self._check_size(frames)
        finite = _finite(frames)
        if not finite.all():
            bad = self.count + np.flatnonzero(~finite)
            logger.warning("Frames %s hold NaN or infinite values and are left out.", bad.tolist())
            frames = torch.where(torch.from_numpy(finite)[:, None, None, None], frames, 0)
        small = reduced(frames)
        looks = {**_looks(small), "noise": noise(frames), "finite": finite}
        self._check_values(looks["brightness"])
        looks["features"] = self._features(frames, small)
        looks.update(self._detected(frames, finite))
        if self.perceptual is not None:
            looks["distance"] = self._distances(small, finite)
        for name, values in looks.items():
            if name not in ("finite", "distance"):
                values = np.asarray(values, np.float32)
                values[~finite] = np.nan
            self._parts.setdefault(name, []).append(values)
        if self.flow is not None:
            self.flow.see(self.count, small)
        self.thumbnails.see(self.count, small)
        self.count += len(frames)

    def result(self) -> Measurements:
        """All measurements; raises ValueError when there was no frame."""
        if self.size is None:
            raise ValueError("the video has no frames.")
        known = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        if self.perceptual is not None:
            change, method = known.pop("distance")[1:], self.perceptual.name
        else:
            change = np.abs(np.diff(known["features"], axis=0)).mean(1)
            method = f"mean absolute difference of {self.extractor.name} features"
        confidence, boxes = known.pop("confidence", None), known.pop("boxes", None)
        flow = self.flow.curve(known["finite"]) if self.flow else np.full(self.count - 1, np.nan)
        return Measurements(
            fps=self.fps,
            size=self.size,
            extractor=self.extractor.name,
            change=change,
            change_method=method,
            flow=flow,
            flow_method="off" if self.flow is None else self.flow.flow.name,
            flow_stride=1 if self.flow is None else self.flow.stride,
            detections={concept: confidence[:, i] for i, concept in enumerate(self.concepts)},
            boxes={concept: boxes[:, i] for i, concept in enumerate(self.concepts)},
            thumbnails=self.thumbnails.pictures,
            **known,
        )

    def _features(self, frames: Tensor, small: Tensor) -> Array:
        resolution = getattr(self.extractor, "resolution", None)
        enough = resolution is not None and resolution <= min(small.shape[-2:])
        shown = small.movedim(1, -1) if enough or small.shape[-2:] == frames.shape[1:3] else frames
        return np.array(self.extractor.images(shown), np.float32)

    def _detected(self, frames: Tensor, finite: Array) -> dict[str, Array]:
        if not self.concepts:
            return {}
        found = self.detector.detect(planes(frames).movedim(1, -1).numpy(), self.concepts)
        return {"confidence": np.array(found.confidence), "boxes": np.array(found.boxes)}

    def _distances(self, small: Tensor, finite: Array) -> Array:
        """Distance of each frame to the one before, NaN for the first of all and next to broken ones."""
        before = small[:1] if self._last is None else self._last
        both = torch.cat([before, small])
        distances = np.asarray(self.perceptual.distance(both[:-1], both[1:]), np.float32).copy()
        known = np.concatenate([[self._known_before()], finite])
        distances[~(known[1:] & known[:-1])] = np.nan
        self._last = small[-1:].clone()
        return distances

    def _known_before(self) -> bool:
        return bool(self.count and self._parts["finite"][-1][-1])

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


class _FlowCurve:
    """Flow degree between every `stride`-th frame, about 8 a second, as a curve over neighbours."""

    def __init__(self, flow: Flow, fps: float) -> None:
        self.flow, self.fps, self.stride = flow, fps, max(round(fps / RATE), 1)
        self._degrees: list[tuple[int, int, float]] = []  # from frame, to frame, degree
        self._chosen: tuple[list[int], Tensor] | None = None  # the last chosen frame
        self._latest: tuple[list[int], Tensor] | None = None  # the last frame of all

    def see(self, count: int, small: Tensor) -> None:
        """Take the chosen ones of the frames [N,3,h,w] that begin at frame `count`."""
        chosen = [index for index in range(len(small)) if (count + index) % self.stride == 0]
        if chosen:
            self._go_on([count + index for index in chosen], self._pictures(small[chosen]))
        self._latest = [count + len(small) - 1], self._pictures(small[-1:])

    def curve(self, finite: Array) -> Array:
        """Degree [T-1]; what remains after the last whole stretch is measured over its own length."""
        if self._latest[0] > self._chosen[0]:
            self._go_on(*self._latest)
        curve = np.full(len(finite) - 1, np.nan)
        for start, end, value in self._degrees:
            if finite[start] and finite[end]:
                curve[start:end] = value * self.fps / (RATE * (end - start))
        return curve

    def _go_on(self, numbers: list[int], pictures: Tensor) -> None:
        if self._chosen is not None:
            numbers, pictures = self._chosen[0] + numbers, torch.cat([self._chosen[1], pictures])
        if len(numbers) > 1:
            degrees = degree(self.flow.displacement(pictures[:-1], pictures[1:]))
            self._degrees += zip(numbers, numbers[1:], degrees)
        self._chosen = numbers[-1:], pictures[-1:].clone()

    def _pictures(self, small: Tensor) -> Tensor:
        return reduced(small.movedim(1, -1), self.flow.side)


class _Thumbnails:
    """Every n-th frame, with n doubled whenever they get too many."""

    def __init__(self) -> None:
        self.pictures: dict[int, Array] = {}
        self._step = 1

    def see(self, count: int, small: Tensor) -> None:
        """Keep the chosen ones of the frames [N,3,h,w] that begin at frame `count`."""
        for index in range(-count % self._step, len(small), self._step):
            if (count + index) % self._step == 0:
                picture = (small[index].movedim(0, -1) * 255).round().clamp(0, 255).to(torch.uint8)
                self.pictures[count + index] = picture.contiguous().numpy()
            if len(self.pictures) > THUMBNAILS:
                self._step *= 2
                self.pictures = {at: kept for at, kept in self.pictures.items() if at % self._step == 0}


def noise(frames: Tensor) -> Array:
    """Standard deviation [N] of the noise of frames [N,H,W,3], float in 0..1 or uint8, in values 0..1.

    The green channel under Immerkaer's mask (1996), which lines and gradients do not excite, and the median
    instead of the mean, which texture hardly moves; at full size, in tiles over the whole picture.
    """
    height, width = frames.shape[1:3]
    if min(height, width) < 3:
        return np.full(len(frames), np.nan)
    (rows, tall), (columns, wide) = _tiles(height), _tiles(width)
    green = frames[..., 1][:, rows][:, :, columns]
    green = green.float() / 255 if green.dtype == torch.uint8 else green
    tiles = green.unflatten(2, (-1, wide)).unflatten(1, (-1, tall))  # [N, across y, tall, across x, wide]
    response = tiles.diff(n=2, dim=2).diff(n=2, dim=4).abs().flatten(1)
    return response.median(1).values.double().numpy() / NOISE_SCALE


def _tiles(length: int) -> tuple[Tensor, int]:
    """Indices along a side that make up tiles spread over it, and the length of a tile."""
    tile = min(TILE, length)
    starts = torch.linspace(0, length - tile, min(TILES, length // tile)).round().long()
    return (starts[:, None] + torch.arange(tile)).flatten(), tile


def _looks(small: Tensor) -> dict[str, Array]:
    """Brightness, saturation and sharpness [N] of pictures [N,3,h,w]."""
    red, green, blue = (small[:, channel].contiguous() for channel in range(3))
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    most, least = (pick(pick(red, green), blue) for pick in (torch.maximum, torch.minimum))
    padded = F.pad(luma[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    around = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    looks = {
        "brightness": luma.mean((1, 2)),
        "saturation": (most - least).mean((1, 2)),
        "sharpness": (around - 4 * luma).square().mean((1, 2)).sqrt(),
    }
    return {name: values.numpy() for name, values in looks.items()}


def _finite(frames: Tensor) -> Array:
    """Which frames [N,H,W,3] hold neither NaN nor infinite values."""
    if not frames.is_floating_point():
        return np.ones(len(frames), bool)
    return torch.isfinite(frames.sum((1, 2, 3))).numpy()  # a sum is the quickest witness


def _flow(flow: Flow | str) -> Flow | None:
    if isinstance(flow, str) and flow not in ("auto", "off"):
        raise ValueError(f'flow is {flow!r}: give "auto", "off" or a Flow.')
    return {"auto": LucasKanade(), "off": None}[flow] if isinstance(flow, str) else flow


def _chunks(batches: Any) -> Iterator[Tensor]:
    """Frames in chunks of CHUNK on the CPU, however they come."""
    waiting: list[Tensor] = []
    for part in _parts([batches] if hasattr(batches, "shape") else batches):
        if waiting and (part.dtype, part.shape[1:]) != (waiting[0].dtype, waiting[0].shape[1:]):
            yield torch.cat(waiting)
            waiting = []
        waiting.append(part)
        if sum(map(len, waiting)) >= CHUNK:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)


def _parts(batches: Iterable[Any]) -> Iterator[Tensor]:
    for batch in batches:
        if not isinstance(batch, Tensor):
            batch = torch.from_numpy(np.ascontiguousarray(batch))
        for part in batch.split(CHUNK):
            if len(part):
                yield as_frames(part.detach().cpu())
