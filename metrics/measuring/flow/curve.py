"""Optical flow along a video, as one curve."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...arrays import Array
from ...features.frames import reduced
from .base import RATE, Flow, degree


class FlowCurve:
    """The flow degree between every `stride`-th frame, about 8 a second, as a curve over neighbouring frames.

    flow: the estimator. fps: frames per second of the video.
    """

    def __init__(self, flow: Flow, fps: float) -> None:
        self.flow, self.fps, self.stride = flow, fps, max(round(fps / RATE), 1)
        self._degrees: list[tuple[int, int, float]] = []  # from frame, to frame, degree
        self._chosen: tuple[list[int], Tensor] | None = None  # the last chosen frame
        self._latest: tuple[list[int], Tensor] | None = None  # the last frame of all

    def add(self, count: int, small: Tensor) -> None:
        """Take the chosen ones of the next frames [N,3,h,w], the first of which is frame `count`."""
        chosen = [index for index in range(len(small)) if (count + index) % self.stride == 0]
        if chosen:
            self._go_on([count + index for index in chosen], self._pictures(small[chosen]))
        self._latest = [count + len(small) - 1], self._pictures(small[-1:])

    def curve(self, finite: Array) -> Array:
        """Degree [T-1] of T frames; NaN next to one that is not `finite` [T].

        What remains after the last whole stretch is measured over its own length.
        """
        curve = np.full(len(finite) - 1, np.nan)
        for start, end, value in [*self._degrees, *self._rest()]:
            if finite[start] and finite[end]:
                curve[start:end] = value * self.fps / (RATE * (end - start))
        return curve

    def _rest(self) -> list[tuple[int, int, float]]:
        """What lies between the last chosen frame and the last of all."""
        if self._latest is None or self._chosen is None or self._latest[0] <= self._chosen[0]:
            return []
        return self._since_chosen(*self._latest)

    def _go_on(self, numbers: list[int], pictures: Tensor) -> None:
        self._degrees += self._since_chosen(numbers, pictures)
        self._chosen = numbers[-1:], pictures[-1:].clone()

    def _since_chosen(self, numbers: list[int], pictures: Tensor) -> list[tuple[int, int, float]]:
        """The degrees between the last chosen frame and these, one after the other."""
        if self._chosen is not None:
            numbers, pictures = self._chosen[0] + numbers, torch.cat([self._chosen[1], pictures])
        if len(numbers) < 2:
            return []
        degrees = degree(self.flow.displacement(pictures[:-1], pictures[1:]))
        return list(zip(numbers, numbers[1:], map(float, degrees)))

    def _pictures(self, small: Tensor) -> Tensor:
        return reduced(small.movedim(1, -1), self.flow.side)
