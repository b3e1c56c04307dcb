"""A few small frames of a video, evenly spaced, however long it is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

THUMBNAILS = 64  # pictures kept at most


class Thumbnails:
    """Every n-th frame as a picture uint8 [h,w,3]; n is doubled whenever there are more than THUMBNAILS."""

    def __init__(self) -> None:
        self.pictures: dict[int, NDArray[np.uint8]] = {}
        self._step = 1

    def add(self, count: int, small: Tensor) -> None:
        """Keep the chosen ones of the next frames [N,3,h,w], the first of which is frame `count`."""
        for index in range(-count % self._step, len(small), self._step):
            if (count + index) % self._step == 0:
                picture = (small[index].movedim(0, -1) * 255).round().clamp(0, 255).to(torch.uint8)
                self.pictures[count + index] = picture.contiguous().numpy()
            if len(self.pictures) > THUMBNAILS:
                self._step *= 2
                self.pictures = {at: kept for at, kept in self.pictures.items() if at % self._step == 0}
